/* Interrupts, unloads with a timeout, and senders that give up. */
#include "answer.h"
#include "host.h"

static const char ENDLESS[] =
    "{\"limits\": {\"max-execution-time-ms\": 3600000, \"max-fuel\": null}}";

static int32_t third_time(void *user_data)
{
    int *asked = user_data;
    return ++*asked == 3;
}

static airssys_status_t call_with(airssys_engine_t *engine, uint64_t handle, const char *text,
                             const airssys_message_options_t *options)
{
    airssys_bytes_t reply = {0};
    airssys_status_t status = airssys_engine_call(
        engine, handle, (const uint8_t *)text, strlen(text), options, &reply, NULL);
    airssys_bytes_free(&reply);
    return status;
}

static void begin(airssys_engine_t *engine, uint64_t handle, const char *text, uint64_t flags,
                  struct answer *answer, uint64_t *id)
{
    airssys_message_options_t options = {0};
    options.size = sizeof options;
    options.flags = flags;
    long long before = described(engine, handle, "messages.accepted");
    CHECK_OK(airssys_engine_request(engine, handle, (const uint8_t *)text, strlen(text), &options,
                                    answer_take, answer, id, NULL));
    while (described(engine, handle, "messages.accepted") == before ||
           described(engine, handle, "mailbox.depth") != 0)
        sched_yield();
}

int main(void)
{
    check_begin();
    airssys_engine_t *engine = new_engine();
    uint64_t busy = load_as(engine, "test/busy/0", "trapper", ENDLESS), id = 0;
    static const char *const endless[] = {"loop", "sleep 3600000"};

    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
        /* By its handle. */
        struct answer interrupted = ANSWER, cancelled = ANSWER;
        begin(engine, busy, endless[i], 0, &interrupted, &id);
        CHECK_OK(airssys_engine_interrupt(engine, busy, NULL));
        CHECK_ANSWER(&interrupted, id, AIRSSYS_ERROR_INTERRUPTED, "test/busy/0");

        /* With its request. */
        begin(engine, busy, endless[i], AIRSSYS_MESSAGE_ENDS_WITH_SENDER, &cancelled, &id);
        CHECK_OK(airssys_engine_cancel(engine, id, NULL));
        CHECK_ANSWER(&cancelled, id, AIRSSYS_ERROR_CANCELLED, "cancelled");
        CHECK_REPLY(engine, busy, "ok", "ok");

        /* With its caller's timeout, and when its caller gives up. */
        airssys_message_options_t options = {0};
        options.size = sizeof options;
        options.timeout_ms = 20;
        options.flags = AIRSSYS_MESSAGE_ENDS_WITH_SENDER;
        CHECK_STATUS(call_with(engine, busy, endless[i], &options), AIRSSYS_ERROR_TIMEOUT);
        CHECK_REPLY(engine, busy, "ok", "ok");
        int asked = 0;
        options.timeout_ms = options.flags = 0;
        options.progress = third_time;
        options.progress_data = &asked;
        CHECK_STATUS(call_with(engine, busy, endless[i], &options), AIRSSYS_ERROR_INTERRUPTED);
        CHECK_NUMBER(asked, 3);
        CHECK_REPLY(engine, busy, "ok", "ok");
    }

    /* An idle component is unchanged. */
    long long restarts = described(engine, busy, "restarts");
    CHECK_OK(airssys_engine_interrupt(engine, busy, NULL));
    CHECK_REPLY(engine, busy, "ok", "ok");
    CHECK_NUMBER(described(engine, busy, "restarts"), restarts);
    CHECK_STATUS(airssys_engine_interrupt(engine, 0, NULL), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_STATUS(airssys_engine_interrupt(NULL, busy, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);

    /* With its component. */
    struct answer running = ANSWER;
    begin(engine, busy, "loop", 0, &running, &id);
    CHECK_STATUS(airssys_engine_unload_within(engine, busy, 0, NULL),
                 AIRSSYS_ERROR_SHUTDOWN_FAILED);
    CHECK_ANSWER(&running, id, AIRSSYS_ERROR_INTERRUPTED, "test/busy/0");
    CHECK_OK(airssys_engine_unload_within(engine, busy, 0, NULL));

    airssys_engine_free(engine);
    return check_done();
}
