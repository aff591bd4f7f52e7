/* One message for several components: all are tried, and those that did not get it are named. */
#include "answer.h"
#include "holding_log.h"

#include <limits.h>

static airssys_status_t broadcast(airssys_engine_t *engine, const uint64_t *handles, size_t count,
                                  const char *text, airssys_error_t **error)
{
    return airssys_engine_broadcast(engine, handles, count, (const uint8_t *)text, strlen(text),
                                    NULL, error);
}

static void everybody_gets_it(void)
{
    enum { COUNT = 20 };
    airssys_engine_t *engine = new_engine();
    uint64_t handles[COUNT];
    for (int i = 0; i < COUNT; i++)
        handles[i] = load(engine, "counter");
    char payload[] = "inc";
    CHECK_OK(airssys_engine_broadcast(engine, handles, COUNT, (const uint8_t *)payload, 3, NULL,
                                      NULL));
    memset(payload, 'x', 3); /* The library has copied it. */
    for (int i = 0; i < COUNT; i++)
        CHECK_REPLY(engine, handles[i], "get", "1");

    /* No component, and one component twice. */
    CHECK_OK(broadcast(engine, NULL, 0, "inc", NULL));
    CHECK_OK(broadcast(engine, handles, 0, "inc", NULL));
    uint64_t thrice[3] = {handles[0], handles[0], handles[0]};
    CHECK_OK(broadcast(engine, thrice, 3, "inc", NULL));
    CHECK_REPLY(engine, handles[0], "get", "4");

    /* A pool gets it once. */
    uint64_t pool = load_as(engine, "test/pool/0", "counter", "{\"instances\": 4}");
    CHECK_OK(broadcast(engine, &pool, 1, "inc", NULL));
    CHECK_NUMBER(described(engine, pool, "messages.accepted"), 1);
    airssys_engine_free(engine);
}

static void with_options(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t handles[2] = {load(engine, "chatty"), load(engine, "chatty")};
    airssys_message_options_t options = {0};
    options.size = sizeof options;
    options.sender = "a/b/c";
    options.content_type = "text/plain";
    CHECK_OK(airssys_engine_broadcast(engine, handles, 2, (const uint8_t *)"log info same", 13,
                                      &options, NULL));
    CHECK_WRITTEN(&log, "same same ");
    CHECK_OK(airssys_engine_broadcast(engine, handles, 2, NULL, 0, &options, NULL));
    options.sender = "a";
    CHECK_STATUS(airssys_engine_broadcast(engine, handles, 2, NULL, 0, &options, NULL),
                 AIRSSYS_ERROR_INVALID_ID);
    airssys_engine_free(engine);
}

static void some_do_not(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    const char *one = "{\"mailbox\": {\"capacity\": 1}}";
    uint64_t full = load_as(engine, "test/full/0", "chatty", one);
    uint64_t picky = load_as(engine, "test/picky/0", "chatty", "{\"codecs\": [\"json\"]}");
    uint64_t gone = load(engine, "echo"), fine = load(engine, "chatty");
    CHECK_OK(airssys_engine_unload(engine, gone, NULL));
    CHECK_OK(send_text(engine, full, HOLD));
    wait_until_held(&log, 1);
    CHECK_OK(send_text(engine, full, "log info waits"));

    uint64_t handles[] = {full, fine, 0, gone, picky, fine};
    airssys_error_t *error = NULL;
    char part[128];
    CHECK_STATUS(broadcast(engine, handles, 6, "log info all", &error),
                 AIRSSYS_ERROR_DELIVERY_FAILED);
    CHECK_STATUS(airssys_error_status(error), AIRSSYS_ERROR_DELIVERY_FAILED);
    CHECK_CONTAINS(airssys_error_message(error), "3 of 6");
    CHECK_CONTAINS(airssys_error_message(error), "test/full/0");
    const char *detail = airssys_error_detail_json(error);
    CHECK_CONTAINS(detail, "\"failed\":[{");
    static const airssys_status_t statuses[] = {AIRSSYS_ERROR_QUEUE_FULL, AIRSSYS_OK,
                                                AIRSSYS_ERROR_COMPONENT_NOT_FOUND,
                                                AIRSSYS_ERROR_COMPONENT_NOT_FOUND};
    for (int i = 0; i < 4; i++) {
        snprintf(part, sizeof part, "\"handle\":%llu,", (unsigned long long)handles[i]);
        const char *member = strstr(detail, part);
        CHECK((member == NULL) == (statuses[i] == AIRSSYS_OK));
        snprintf(part, sizeof part, "\"status\":%d}", (int)statuses[i]);
        if (member != NULL)
            CHECK_CONTAINS(member, part);
    }
    airssys_error_free(error);
    /* The receiver with codecs also takes a payload without a prefix. */
    CHECK_WRITTEN(&log, "all all all ");

    /* Each failure has its reason. */
    static const uint8_t cbor[] = {0x51, 0xa0};
    uint64_t failing[] = {picky, full, gone};
    CHECK_STATUS(airssys_engine_broadcast(engine, failing, 3, cbor, sizeof cbor, NULL, &error),
                 AIRSSYS_ERROR_DELIVERY_FAILED);
    CHECK_CONTAINS(airssys_error_message(error), "3 of 3");
    CHECK_CONTAINS(airssys_error_detail_json(error), "the receiver accepts json");
    airssys_error_free(error);
    let_go(&log, UINT_MAX);
    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    CHECK_STATUS(broadcast(engine, &fine, 1, "log info late", NULL), AIRSSYS_ERROR_ENGINE_STOPPED);
    airssys_engine_free(engine);
    CHECK_WRITTEN(&log, "all all all waits ");
}

/* A blocking mailbox delays a broadcast for as long as the options allow. */
static void some_block(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t handles[3];
    char id[32];
    for (unsigned i = 0; i < 2; i++) {
        snprintf(id, sizeof id, "test/block/%u", i);
        handles[i] = load_as(engine, id, "chatty",
                             "{\"mailbox\": {\"capacity\": 1, \"when-full\": \"block\"}}");
        CHECK_OK(send_text(engine, handles[i], HOLD));
        wait_until_held(&log, i + 1);
        CHECK_OK(send_text(engine, handles[i], "log info waits"));
    }
    handles[2] = load(engine, "chatty");
    airssys_message_options_t options = {0};
    airssys_error_t *error = NULL;
    options.size = sizeof options;
    options.timeout_ms = 1;
    CHECK_STATUS(airssys_engine_broadcast(engine, handles, 3, (const uint8_t *)"log info all", 12,
                                          &options, &error),
                 AIRSSYS_ERROR_DELIVERY_FAILED);
    CHECK_CONTAINS(airssys_error_message(error), "2 of 3");
    airssys_error_free(error);
    CHECK_WRITTEN(&log, "all ");
    let_go(&log, UINT_MAX);
    CHECK_WRITTEN(&log, "all waits waits ");
    CHECK_OK(broadcast(engine, handles, 3, "log info all", NULL));
    CHECK_WRITTEN(&log, "all waits waits all all all ");
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    everybody_gets_it();
    with_options();
    some_do_not();
    some_block();
    return check_done();
}
