/* Prefixes that say what a payload is: what is written is read, and what is not one is refused. */
#include "host.h"

#define LARGEST (UINT64_MAX >> 1)

/* A name and a code that belong together, both ways. */
static void pair(const char *name, uint64_t code)
{
    uint64_t found = 4711;
    CHECK_TEXT(airssys_codec_name(code), name);
    CHECK_OK(airssys_codec_code(name, &found, NULL));
    CHECK(found == code);
}

static void names(void)
{
    pair("protobuf", AIRSSYS_CODEC_PROTOBUF);
    pair("cbor", AIRSSYS_CODEC_CBOR);
    pair("raw", AIRSSYS_CODEC_RAW);
    pair("rlp", AIRSSYS_CODEC_RLP);
    pair("bencode", AIRSSYS_CODEC_BENCODE);
    pair("dag-pb", AIRSSYS_CODEC_DAG_PB);
    pair("dag-cbor", AIRSSYS_CODEC_DAG_CBOR);
    pair("dag-jose", AIRSSYS_CODEC_DAG_JOSE);
    pair("dag-cose", AIRSSYS_CODEC_DAG_COSE);
    pair("dag-json", AIRSSYS_CODEC_DAG_JSON);
    pair("json", AIRSSYS_CODEC_JSON);
    pair("messagepack", AIRSSYS_CODEC_MESSAGEPACK);
    pair("car", AIRSSYS_CODEC_CAR);
    pair("x509-certificate", AIRSSYS_CODEC_X509_CERTIFICATE);
    pair("ipns-record", AIRSSYS_CODEC_IPNS_RECORD);
    pair("car-index-sorted", AIRSSYS_CODEC_CAR_INDEX_SORTED);
    pair("car-multihash-index-sorted", AIRSSYS_CODEC_CAR_MULTIHASH_INDEX_SORTED);
    pair("provenance-log", AIRSSYS_CODEC_PROVENANCE_LOG);
    pair("provenance-log-entry", AIRSSYS_CODEC_PROVENANCE_LOG_ENTRY);
    pair("provenance-log-script", AIRSSYS_CODEC_PROVENANCE_LOG_SCRIPT);
    pair("ssz", AIRSSYS_CODEC_SSZ);
    pair("json-jcs", AIRSSYS_CODEC_JSON_JCS);
    pair("bincode", AIRSSYS_CODEC_BINCODE);
    pair("borsh", AIRSSYS_CODEC_BORSH);

    /* No codec, and a byte that a JSON text without a prefix begins with. */
    CHECK(airssys_codec_name(0) == NULL);
    CHECK(airssys_codec_name('{') == NULL);
    CHECK(airssys_codec_name(UINT64_MAX) == NULL);

    uint64_t code = 4711;
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_codec_code("jsn", &code, &error), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_CONTAINS(airssys_error_message(error), "\"jsn\"");
    CHECK_CONTAINS(airssys_error_message(error), "cbor, raw, ");
    CHECK_CONTAINS(airssys_error_message(error), ", json, messagepack, ");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"argument\":\"name\"");
    airssys_error_free(error);
    CHECK_STATUS(airssys_codec_code("", &code, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_codec_code("JSON", &code, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_NUMBER(code, 4711);
}

/* Puts a code in front of a payload, looks at the bytes, and reads the code again. */
static void round_trip(uint64_t code, const void *payload, size_t len, const char *prefix)
{
    size_t prefix_len = strlen(prefix), found_len = 4711;
    uint64_t found = 4711;
    airssys_bytes_t message = {0};
    CHECK_OK(airssys_codec_prefix(code, payload, len, &message, NULL));
    REQUIRE(message.data != NULL && message.len == prefix_len + len);
    CHECK(memcmp(message.data, prefix, prefix_len) == 0);
    CHECK(len == 0 || memcmp(message.data + prefix_len, payload, len) == 0);
    CHECK_OK(airssys_codec_read(message.data, message.len, &found, &found_len, NULL));
    CHECK(found == code);
    CHECK_NUMBER(found_len, prefix_len);
    airssys_bytes_free(&message);
}

static void prefixes(void)
{
    round_trip(AIRSSYS_CODEC_RAW, "data", 4, "\x55");
    round_trip(AIRSSYS_CODEC_JSON, "{}", 2, "\x80\x04");
    round_trip(AIRSSYS_CODEC_SSZ, "\0\0", 2, "\x81\xea\x02");
    round_trip(AIRSSYS_CODEC_BORSH, "data", 4, "\xef\xc4\xc1\x01");
    /* A payload that has a prefix is a payload like any other. */
    round_trip(AIRSSYS_CODEC_RAW, "\x80\x04{}", 4, "\x55");
    /* No payload, with a pointer and without. */
    round_trip(AIRSSYS_CODEC_CBOR, "", 0, "\x51");
    round_trip(AIRSSYS_CODEC_CBOR, NULL, 0, "\x51");
    /* Codes that the header does not name. */
    round_trip(0x7f, "data", 4, "\x7f");
    round_trip(0x80, "data", 4, "\x80\x01");
    round_trip(LARGEST, "data", 4, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f");

    static uint8_t large[1 << 20];
    memset(large, 0xa5, sizeof large);
    round_trip(AIRSSYS_CODEC_MESSAGEPACK, large, sizeof large, "\x81\x04");
}

/* What begins with no code: outputs stay as they are. */
static void refuses(const void *payload, size_t len)
{
    uint64_t code = 4711;
    size_t prefix_len = 4712;
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_codec_read(payload, len, &code, &prefix_len, &error),
                 AIRSSYS_ERROR_INVALID_MESSAGE);
    CHECK_STATUS(airssys_error_status(error), AIRSSYS_ERROR_INVALID_MESSAGE);
    CHECK_CONTAINS(airssys_error_message(error), "multicodec");
    airssys_error_free(error);
    CHECK_STATUS(airssys_codec_read(payload, len, &code, &prefix_len, NULL),
                 AIRSSYS_ERROR_INVALID_MESSAGE);
    CHECK_NUMBER(code, 4711);
    CHECK_NUMBER(prefix_len, 4712);
}

static void no_prefixes(void)
{
    static const uint8_t ones[100] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    };
    refuses(NULL, 0);
    refuses("", 0);
    /* Cut off. */
    refuses("\x80", 1);
    refuses("\x80\x84", 2);
    refuses(ones, 8);
    /* Longer than necessary. */
    refuses("\x80\0", 2);
    refuses("\xd5\0", 2);
    refuses("\x80\x84\0", 3);
    /* Of ten bytes. */
    refuses(ones, 9);
    refuses(ones, 10);
    refuses(ones, sizeof ones);
}

/* A call whose argument `name` is wrong. */
#define REFUSES(name, call)                                                            \
    do {                                                                               \
        airssys_error_t *error = NULL;                                                 \
        CHECK_STATUS((call), AIRSSYS_ERROR_INVALID_ARGUMENT);                          \
        CHECK_CONTAINS(airssys_error_message(error), name);                            \
        CHECK_CONTAINS(airssys_error_detail_json(error), "\"argument\":\"" name "\""); \
        airssys_error_free(error);                                                     \
    } while (0)

static void arguments(void)
{
    static const uint8_t payload[] = {0x55};
    uint64_t code = 4711;
    size_t prefix_len = 4712;
    airssys_bytes_t message = {NULL, 17, 18};

    REFUSES("name", airssys_codec_code(NULL, &code, &error));
    REFUSES("name", airssys_codec_code("\xff", &code, &error));
    REFUSES("out_code", airssys_codec_code("json", NULL, &error));

    REFUSES("payload", airssys_codec_read(NULL, 1, &code, &prefix_len, &error));
    REFUSES("payload", airssys_codec_read(payload, SIZE_MAX, &code, &prefix_len, &error));
    REFUSES("out_code", airssys_codec_read(payload, 1, NULL, &prefix_len, &error));
    REFUSES("out_prefix_len", airssys_codec_read(payload, 1, &code, NULL, &error));

    REFUSES("code", airssys_codec_prefix(LARGEST + 1, payload, 1, &message, &error));
    REFUSES("code", airssys_codec_prefix(UINT64_MAX, payload, 1, &message, &error));
    REFUSES("payload", airssys_codec_prefix(0, NULL, 1, &message, &error));
    REFUSES("payload", airssys_codec_prefix(0, payload, SIZE_MAX, &message, &error));
    REFUSES("out", airssys_codec_prefix(0, payload, 1, NULL, &error));

    CHECK_NUMBER(code, 4711);
    CHECK_NUMBER(prefix_len, 4712);
    CHECK(message.data == NULL && message.len == 17 && message.capacity == 18);
    CHECK_STATUS(airssys_codec_prefix(0, payload, 1, NULL, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    check_begin();
    names();
    prefixes();
    no_prefixes();
    arguments();
    return check_done();
}
