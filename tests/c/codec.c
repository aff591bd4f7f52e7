/* Prefixes of payloads: written, read, refused, and checked for receivers. */
#include "host.h"

#define LARGEST (UINT64_MAX >> 1)

/* A name and its code, converted both ways. */
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

/* Prefixes a payload with a code, checks the bytes, and reads the code back. */
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
    /* A payload with a prefix can get another prefix. */
    round_trip(AIRSSYS_CODEC_RAW, "\x80\x04{}", 4, "\x55");
    /* An empty payload, with a pointer and with NULL. */
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

/* Payloads without a code: outputs are unchanged. */
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
    /* Truncated. */
    refuses("\x80", 1);
    refuses("\x80\x84", 2);
    refuses(ones, 8);
    /* Not the shortest encoding. */
    refuses("\x80\0", 2);
    refuses("\xd5\0", 2);
    refuses("\x80\x84\0", 3);
    /* Ten bytes long. */
    refuses(ones, 9);
    refuses(ones, 10);
    refuses(ones, sizeof ones);
}

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

static void no_outcome(void *user_data, const airssys_completion_t *completion)
{
    (void)user_data, (void)completion;
    CHECK(!"called");
}

static airssys_status_t call_with(airssys_engine_t *engine, uint64_t handle, const char *payload,
                                  size_t len, airssys_error_t **error)
{
    airssys_bytes_t reply = {0};
    airssys_status_t status =
        airssys_engine_call(engine, handle, (const uint8_t *)payload, len, NULL, &reply, error);
    if (status == AIRSSYS_OK)
        CHECK(reply.len == len && memcmp(reply.data, payload, len) == 0);
    airssys_bytes_free(&reply);
    return status;
}

/* The declared codecs are checked on every way to send a message. */
static void receivers(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t picky = load_as(engine, "test/picky/0", "echo", "{\"codecs\": [\"json\", \"cbor\"]}");
    uint64_t open = load_as(engine, "test/open/0", "echo", "{\"codecs\": []}"), id = 4711;
    static const char json[] = "\x80\x04{}", cbor[] = "\x51\xa0", raw[] = "\x55raw";
    airssys_error_t *error = NULL;
    airssys_bytes_t described_as = {0};

    CHECK_OK(call_with(engine, picky, json, 4, NULL));
    CHECK_OK(call_with(engine, picky, cbor, 2, NULL));
    CHECK_OK(call_with(engine, open, raw, 4, NULL));
    CHECK_STATUS(call_with(engine, picky, raw, 4, &error), AIRSSYS_ERROR_INVALID_MESSAGE);
    CHECK_CONTAINS(airssys_error_message(error), "test/picky/0");
    CHECK_CONTAINS(airssys_error_message(error), "raw");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"codec\":\"raw\"");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"accepted\":[\"cbor\",\"json\"]");
    airssys_error_free(error);
    CHECK_STATUS(airssys_engine_send(engine, picky, (const uint8_t *)raw, 4, NULL, NULL),
                 AIRSSYS_ERROR_INVALID_MESSAGE);
    CHECK_STATUS(airssys_engine_request(engine, picky, (const uint8_t *)raw, 4, NULL, no_outcome,
                                        NULL, &id, NULL),
                 AIRSSYS_ERROR_INVALID_MESSAGE);
    CHECK_STATUS(airssys_engine_broadcast(engine, &picky, 1, (const uint8_t *)raw, 4, NULL, NULL),
                 AIRSSYS_ERROR_DELIVERY_FAILED);
    CHECK_NUMBER(id, 4711);

    /* A payload without a known code is not checked. */
    CHECK_OK(call_with(engine, picky, "{}", 2, NULL));
    CHECK_OK(call_with(engine, picky, "", 0, NULL));
    CHECK_OK(call_with(engine, picky, "\xff\xff", 2, NULL));

    CHECK_OK(airssys_engine_describe(engine, picky, &described_as, NULL));
    CHECK_CONTAINS((const char *)described_as.data, "\"codecs\":[\"cbor\",\"json\"]");
    CHECK_NUMBER(number_in(&described_as, "messages.refused"), 4);
    airssys_bytes_free(&described_as);
    airssys_engine_free(engine);
}

static void load_options(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t handle = 4711;
    char path[4096];
    guest_path("echo", path, sizeof path);
    static const char *const wrong[] = {
        "{\"codecs\": [\"cbor\", \"xml\"]}",
        "{\"codecs\": \"cbor\"}",
        "{\"codecs\": [81]}",
        "{\"codecs\": {}}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        airssys_error_t *error = NULL;
        CHECK_STATUS(airssys_engine_load_file(engine, "a/b/c", path, wrong[i], &handle, &error),
                     AIRSSYS_ERROR_INVALID_OPTIONS);
        CHECK_CONTAINS(airssys_error_message(error), "options.codecs");
        airssys_error_free(error);
    }
    CHECK_NUMBER(handle, 4711);
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    receivers();
    load_options();
    names();
    prefixes();
    no_prefixes();
    arguments();
    return check_done();
}
