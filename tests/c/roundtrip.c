/* Data passes through a component unchanged, and replies belong to the caller. */
#include "host.h"

int main(void)
{
    check_begin();
    airssys_engine_t *engine = new_engine();
    uint64_t echo = load(engine, "echo"), probe = load(engine, "probe");
    airssys_bytes_t reply = {0};

    /* Any bytes: NULs and invalid UTF-8. */
    const uint8_t binary[] = {0, 255, 'a', 0, 128};
    CHECK_OK(airssys_engine_call(engine, echo, binary, sizeof binary, NULL, &reply, NULL));
    CHECK_NUMBER(reply.len, sizeof binary);
    CHECK(reply.data != NULL && memcmp(reply.data, binary, sizeof binary) == 0);
    CHECK(reply.data != binary);

    /* A second free does nothing. */
    airssys_bytes_free(&reply);
    CHECK(reply.data == NULL && reply.len == 0 && reply.capacity == 0);
    airssys_bytes_free(&reply);
    airssys_bytes_free(NULL);

    /* The payload is copied: it may change after the call, and the reply stays. */
    uint8_t changing[] = "before";
    CHECK_OK(airssys_engine_call(engine, echo, changing, 6, NULL, &reply, NULL));
    memcpy(changing, "after!", 6);
    CHECK(reply.len == 6 && memcmp(reply.data, "before", 6) == 0);

    /* A reply outlives its component. */
    CHECK_OK(airssys_engine_unload(engine, echo, NULL));
    CHECK(reply.len == 6 && memcmp(reply.data, "before", 6) == 0);
    airssys_bytes_free(&reply);
    echo = load(engine, "echo");

    /* Two ways to pass an empty payload. */
    CHECK_OK(airssys_engine_call(engine, echo, NULL, 0, NULL, &reply, NULL));
    CHECK(reply.data != NULL);
    CHECK_NUMBER(reply.len, 0);
    airssys_bytes_free(&reply);
    CHECK_OK(airssys_engine_call(engine, echo, binary, 0, NULL, &reply, NULL));
    CHECK(reply.data != NULL);
    CHECK_NUMBER(reply.len, 0);
    airssys_bytes_free(&reply);

    /* An empty reply differs from no reply. */
    CHECK_OK(call(engine, probe, "empty", &reply, NULL));
    CHECK(reply.data != NULL);
    CHECK_NUMBER(reply.len, 0);
    airssys_bytes_free(&reply);
    reply.data = changing; /* Shows whether "no reply" is written. */
    CHECK_OK(call(engine, probe, "silent", &reply, NULL));
    CHECK(reply.data == NULL);
    CHECK_NUMBER(reply.len, 0);
    airssys_bytes_free(&reply);

    /* Large both ways. */
    const size_t size = 5000000;
    uint8_t *large = malloc(size);
    REQUIRE(large != NULL);
    for (size_t i = 0; i < size; i++)
        large[i] = (uint8_t)(i % 251);
    CHECK_OK(airssys_engine_call(engine, echo, large, size, NULL, &reply, NULL));
    CHECK(reply.len == size && memcmp(reply.data, large, size) == 0);
    airssys_bytes_free(&reply);
    CHECK_OK(call(engine, probe, "blob 5000000", &reply, NULL));
    CHECK(reply.len == size && memcmp(reply.data, large, size) == 0);
    airssys_bytes_free(&reply);
    free(large);

    /* The other fields of a message. */
    airssys_message_options_t options = {0};
    options.size = sizeof options;
    options.sender = "app/browser/7";
    options.content_type = "text/x-test";
    CHECK_OK(airssys_engine_call(engine, probe, (const uint8_t *)"message", 7, &options, &reply,
                                 NULL));
    char *text = calloc(reply.len + 1, 1);
    REQUIRE(text != NULL && reply.data != NULL);
    memcpy(text, reply.data, reply.len);
    CHECK_CONTAINS(text, "app/browser/7");
    CHECK_CONTAINS(text, "text/x-test");
    free(text);
    airssys_bytes_free(&reply);

    /* The library's documents are also C strings. */
    CHECK_OK(airssys_engine_describe(engine, probe, &reply, NULL));
    REQUIRE(reply.data != NULL);
    CHECK_NUMBER(strlen((const char *)reply.data), reply.len);
    CHECK_CONTAINS((const char *)reply.data, "\"id\":\"test/probe/0\"");
    airssys_bytes_free(&reply);
    CHECK_OK(airssys_engine_list(engine, &reply, NULL));
    REQUIRE(reply.data != NULL);
    CHECK_NUMBER(strlen((const char *)reply.data), reply.len);
    CHECK_CONTAINS((const char *)reply.data, "test/echo/0");
    airssys_bytes_free(&reply);
    CHECK_OK(airssys_engine_stats(engine, &reply, NULL));
    REQUIRE(reply.data != NULL);
    CHECK_CONTAINS((const char *)reply.data, "\"components\":2");
    airssys_bytes_free(&reply);
    CHECK_OK(airssys_engine_health(engine, probe, &reply, NULL));
    REQUIRE(reply.data != NULL);
    CHECK_NUMBER(strlen((const char *)reply.data), reply.len);
    CHECK_CONTAINS((const char *)reply.data, "\"health\":\"healthy\"");

    /* Bytes outlive the engine. */
    airssys_engine_free(engine);
    CHECK_CONTAINS((const char *)reply.data, "\"health\":\"healthy\"");
    airssys_bytes_free(&reply);
    return check_done();
}
