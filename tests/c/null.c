/* Invalid arguments are errors that name the argument: NULL, invalid UTF-8, wrong sizes. */
#include "host.h"

static const uint8_t payload[] = "x";

static void get(void *user_data, const char *ns, const char *key,
                airssys_writer_t *out)
{
    (void)user_data, (void)ns, (void)key, (void)out;
}

static void set(void *user_data, const char *ns, const char *key,
                const uint8_t *value, size_t len, airssys_writer_t *out)
{
    (void)user_data, (void)ns, (void)key, (void)value, (void)len, (void)out;
}

static void list(void *user_data, const char *ns, const char *prefix,
                 airssys_keys_t *keys, airssys_writer_t *out)
{
    (void)user_data, (void)ns, (void)prefix, (void)keys, (void)out;
}

static void count_drop(void *user_data)
{
    ++*(int *)user_data;
}

static void event(void *user_data, const airssys_event_t *told)
{
    (void)user_data, (void)told;
}

static void record(void *user_data, const airssys_audit_record_t *decision)
{
    (void)user_data, (void)decision;
}

static void route(void *user_data, const airssys_envelope_t *envelope, airssys_writer_t *answer)
{
    (void)user_data, (void)envelope, (void)answer;
}

static void must_not_come(void *user_data, const airssys_completion_t *completion)
{
    (void)user_data, (void)completion;
    CHECK(!"called");
}

static void configurations(void)
{
    airssys_config_t *config = new_config();
    REFUSES("out", airssys_config_new(NULL, &error));
    REFUSES("config", airssys_config_set_json(NULL, "{}", &error));
    REFUSES("json", airssys_config_set_json(config, NULL, &error));
    REFUSES("json", airssys_config_set_json(config, "{\"name\": \"\xff\"}", &error));

    int drops = 0;
    airssys_storage_t good = {0};
    good.size = sizeof good;
    good.user_data = &drops;
    good.drop = count_drop;
    good.get = get;
    good.set = set;
    good.del = get;
    good.list = list;
    airssys_storage_t storage = good;
    REFUSES("config", airssys_config_set_storage(NULL, &storage, &error));
    REFUSES("storage", airssys_config_set_storage(config, NULL, &error));
    storage.get = NULL;
    REFUSES("storage.get", airssys_config_set_storage(config, &storage, &error));
    storage = good;
    storage.set = NULL;
    REFUSES("storage.set", airssys_config_set_storage(config, &storage, &error));
    storage = good;
    storage.del = NULL;
    REFUSES("storage.del", airssys_config_set_storage(config, &storage, &error));
    storage = good;
    storage.list = NULL;
    REFUSES("storage.list", airssys_config_set_storage(config, &storage, &error));
    storage = good;
    storage.size = 0;
    REFUSES("storage", airssys_config_set_storage(config, &storage, &error));
    storage.size = offsetof(airssys_storage_t, flags) - 1;
    REFUSES("storage", airssys_config_set_storage(config, &storage, &error));
    storage.size = SIZE_MAX;
    REFUSES("storage", airssys_config_set_storage(config, &storage, &error));

    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.user_data = &drops;
    logger.drop = count_drop;
    REFUSES("logger.log", airssys_config_set_logger(config, &logger, &error));
    logger.log = log_nothing;
    REFUSES("config", airssys_config_set_logger(NULL, &logger, &error));
    REFUSES("logger", airssys_config_set_logger(config, NULL, &error));
    logger.min_level = AIRSSYS_LOG_OFF + 1;
    REFUSES("logger.min_level", airssys_config_set_logger(config, &logger, &error));
    logger.min_level = -1;
    REFUSES("logger.min_level", airssys_config_set_logger(config, &logger, &error));
    logger.min_level = AIRSSYS_LOG_TRACE;
    logger.size = 3;
    REFUSES("logger", airssys_config_set_logger(config, &logger, &error));

    airssys_events_t events = {0};
    events.size = sizeof events;
    events.user_data = &drops;
    events.drop = count_drop;
    REFUSES("events.event", airssys_config_set_events(config, &events, &error));
    events.event = event;
    REFUSES("config", airssys_config_set_events(NULL, &events, &error));
    REFUSES("events", airssys_config_set_events(config, NULL, &error));
    events.size = sizeof events - 1;
    REFUSES("events", airssys_config_set_events(config, &events, &error));
    events.size = 0;
    REFUSES("events", airssys_config_set_events(config, &events, &error));

    airssys_router_t router = {0};
    router.size = sizeof router;
    router.user_data = &drops;
    router.drop = count_drop;
    REFUSES("router.route", airssys_config_set_router(config, &router, &error));
    router.route = route;
    REFUSES("config", airssys_config_set_router(NULL, &router, &error));
    REFUSES("router", airssys_config_set_router(config, NULL, &error));
    router.size = SIZE_MAX;
    REFUSES("router", airssys_config_set_router(config, &router, &error));

    airssys_audit_t audit = {0};
    audit.size = sizeof audit;
    audit.user_data = &drops;
    audit.drop = count_drop;
    REFUSES("audit.record", airssys_config_set_audit(config, &audit, &error));
    audit.record = record;
    REFUSES("config", airssys_config_set_audit(NULL, &audit, &error));
    REFUSES("audit", airssys_config_set_audit(config, NULL, &error));
    audit.size = 0;
    REFUSES("audit", airssys_config_set_audit(config, &audit, &error));

    /* The host keeps what was refused. */
    airssys_config_free(config);
    CHECK_NUMBER(drops, 0);
}

/* A host compiled with a newer header, whose struct has a field that this library lacks. */
static void newer_structs(airssys_engine_t *engine, uint64_t echo)
{
    struct {
        airssys_message_options_t options;
        void *unheard_of;
    } newer;
    memset(&newer, 0, sizeof newer);
    newer.options.size = sizeof newer;
    airssys_bytes_t reply = {0};
    CHECK_OK(airssys_engine_call(engine, echo, payload, 1, &newer.options, &reply, NULL));
    airssys_bytes_free(&reply);
    newer.unheard_of = &newer;
    REFUSES("options", airssys_engine_call(engine, echo, payload, 1, &newer.options, &reply, &error));
}

static void requests(airssys_engine_t *engine, uint64_t echo)
{
    uint64_t id = 4711;
    airssys_message_options_t options = {0};
    REFUSES("engine", airssys_engine_request(NULL, echo, payload, 1, NULL, must_not_come, NULL,
                                             &id, &error));
    REFUSES("payload", airssys_engine_request(engine, echo, NULL, 1, NULL, must_not_come, NULL,
                                              &id, &error));
    REFUSES("payload", airssys_engine_request(engine, echo, payload, SIZE_MAX, NULL, must_not_come,
                                              NULL, &id, &error));
    REFUSES("options", airssys_engine_request(engine, echo, payload, 1, &options, must_not_come,
                                              NULL, &id, &error));
    REFUSES("reply_fn",
            airssys_engine_request(engine, echo, payload, 1, NULL, NULL, NULL, &id, &error));
    REFUSES("out_id", airssys_engine_request(engine, echo, payload, 1, NULL, must_not_come, NULL,
                                             NULL, &error));
    CHECK_NUMBER(id, 4711);
    REFUSES("engine", airssys_engine_cancel(NULL, 1, &error));

    REFUSES("engine", airssys_engine_broadcast(NULL, &echo, 1, payload, 1, NULL, &error));
    REFUSES("handles", airssys_engine_broadcast(engine, NULL, 1, payload, 1, NULL, &error));
    REFUSES("handles", airssys_engine_broadcast(engine, &echo, SIZE_MAX, payload, 1, NULL, &error));
    REFUSES("payload", airssys_engine_broadcast(engine, &echo, 1, NULL, 1, NULL, &error));
    REFUSES("options", airssys_engine_broadcast(engine, &echo, 1, payload, 1, &options, &error));
    CHECK_OK(airssys_engine_broadcast(engine, NULL, 0, NULL, 0, NULL, NULL));
}

static void routed(airssys_engine_t *engine)
{
    uint64_t id = 4711;
    airssys_envelope_t good = {0}, envelope;
    good.size = sizeof good;
    good.source = "a/b/c";
    good.target = "test/echo/0";
    good.kind = AIRSSYS_KIND_REQUEST;

#define REFUSES_ENVELOPE(name, change)                                                      \
    do {                                                                                    \
        envelope = good;                                                                    \
        change;                                                                             \
        REFUSES(name, airssys_engine_deliver(engine, &envelope, must_not_come, NULL, &id, &error)); \
    } while (0)
    REFUSES("engine", airssys_engine_deliver(NULL, &good, must_not_come, NULL, &id, &error));
    REFUSES("envelope", airssys_engine_deliver(engine, NULL, must_not_come, NULL, &id, &error));
    REFUSES("reply_fn", airssys_engine_deliver(engine, &good, NULL, NULL, &id, &error));
    REFUSES_ENVELOPE("envelope", envelope.size = 0);
    REFUSES_ENVELOPE("envelope", envelope.size = sizeof envelope - 1);
    REFUSES_ENVELOPE("envelope.source", envelope.source = NULL);
    REFUSES_ENVELOPE("envelope.source", envelope.source = "a/\xff/c");
    REFUSES_ENVELOPE("envelope.target", envelope.target = NULL);
    REFUSES_ENVELOPE("envelope.target", envelope.target = "\xff");
    REFUSES_ENVELOPE("envelope.kind", envelope.kind = 2);
    REFUSES_ENVELOPE("envelope.kind", envelope.kind = -1);
    REFUSES_ENVELOPE("envelope.content_type", envelope.content_type = "\xff");
    REFUSES_ENVELOPE("envelope.payload", envelope.payload_len = 1);
    CHECK_NUMBER(id, 4711);

    REFUSES("engine", airssys_engine_complete(NULL, 1, AIRSSYS_OK, NULL, 0, NULL, &error));
    REFUSES("reply", airssys_engine_complete(engine, 1, AIRSSYS_OK, NULL, 1, NULL, &error));
    REFUSES("message", airssys_engine_complete(engine, 1, AIRSSYS_ERROR_IO, NULL, 0, "\xff", &error));
    /* Not read, but with success. */
    CHECK_STATUS(airssys_engine_complete(engine, 1, AIRSSYS_ERROR_IO, NULL, SIZE_MAX, NULL, NULL),
                 AIRSSYS_ERROR_REQUEST_NOT_FOUND);
}

static void engines(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t echo = load(engine, "echo"), handle = 4711;
    airssys_bytes_t reply = {0};
    char path[4096];
    guest_path("echo", path, sizeof path);

    REFUSES("out", airssys_engine_new(NULL, NULL, &error));
    REFUSES("engine", airssys_engine_shutdown(NULL, 0, &error));
    REFUSES("engine", airssys_engine_unload(NULL, echo, &error));
    REFUSES("engine", airssys_engine_unload_within(NULL, echo, 0, &error));
    REFUSES("engine", airssys_engine_interrupt(NULL, echo, &error));
    REFUSES("engine", airssys_engine_stop(NULL, echo, 0, &error));
    REFUSES("engine", airssys_engine_start(NULL, echo, &error));
    REFUSES("engine", airssys_engine_restart(NULL, echo, 0, &error));
    REFUSES("engine", airssys_engine_wait(NULL, echo, "running", 0, &error));
    REFUSES("state", airssys_engine_wait(engine, echo, NULL, 0, &error));
    REFUSES("state", airssys_engine_wait(engine, echo, "\xff", 0, &error));
    REFUSES("state", airssys_engine_wait(engine, echo, "Running", 0, &error));
    REFUSES("engine", airssys_engine_replace(NULL, echo, NULL, 0, NULL, &error));
    REFUSES("wasm", airssys_engine_replace(engine, echo, NULL, 1, NULL, &error));
    REFUSES("wasm", airssys_engine_replace(engine, echo, payload, SIZE_MAX, NULL, &error));
    REFUSES("options_json", airssys_engine_replace(engine, echo, NULL, 0, "\x80", &error));
    REFUSES("engine", airssys_engine_replace_file(NULL, echo, path, NULL, &error));
    REFUSES("path", airssys_engine_replace_file(engine, echo, NULL, NULL, &error));
    REFUSES("path", airssys_engine_replace_file(engine, echo, "\xff", NULL, &error));
    REFUSES("options_json", airssys_engine_replace_file(engine, echo, path, "\xff", &error));
    REFUSES("engine", airssys_engine_rollback(NULL, echo, &error));
    REFUSES("engine", airssys_engine_storage_compact(NULL, &error));

    REFUSES("engine", airssys_engine_load(NULL, "a/b/c", payload, 1, NULL, &handle, &error));
    REFUSES("id", airssys_engine_load(engine, NULL, payload, 1, NULL, &handle, &error));
    REFUSES("id", airssys_engine_load(engine, "a/\xc3/c", payload, 1, NULL, &handle, &error));
    REFUSES("wasm", airssys_engine_load(engine, "a/b/c", NULL, 1, NULL, &handle, &error));
    REFUSES("wasm", airssys_engine_load(engine, "a/b/c", payload, SIZE_MAX, NULL, &handle, &error));
    REFUSES("options_json",
            airssys_engine_load(engine, "a/b/c", payload, 1, "\x80", &handle, &error));
    REFUSES("out_handle", airssys_engine_load(engine, "a/b/c", payload, 1, NULL, NULL, &error));

    REFUSES("engine", airssys_engine_precompile(NULL, payload, 1, NULL, NULL, &error));
    REFUSES("wasm", airssys_engine_precompile(engine, NULL, 1, NULL, NULL, &error));
    REFUSES("engine", airssys_engine_load_file(NULL, "a/b/c", path, NULL, &handle, &error));
    REFUSES("id", airssys_engine_load_file(engine, NULL, path, NULL, &handle, &error));
    REFUSES("path", airssys_engine_load_file(engine, "a/b/c", NULL, NULL, &handle, &error));
    REFUSES("path", airssys_engine_load_file(engine, "a/b/c", "\xff", NULL, &handle, &error));
    REFUSES("options_json",
            airssys_engine_load_file(engine, "a/b/c", path, "\xff", &handle, &error));
    REFUSES("out_handle", airssys_engine_load_file(engine, "a/b/c", path, NULL, NULL, &error));
    CHECK_NUMBER(handle, 4711);

    REFUSES("engine", airssys_engine_send(NULL, echo, payload, 1, NULL, &error));
    REFUSES("payload", airssys_engine_send(engine, echo, NULL, 1, NULL, &error));
    REFUSES("payload", airssys_engine_send(engine, echo, payload, SIZE_MAX, NULL, &error));
    REFUSES("engine", airssys_engine_call(NULL, echo, payload, 1, NULL, &reply, &error));
    REFUSES("payload", airssys_engine_call(engine, echo, NULL, 1, NULL, &reply, &error));
    REFUSES("out_reply", airssys_engine_call(engine, echo, payload, 1, NULL, NULL, &error));

    airssys_message_options_t options = {0};
    REFUSES("options", airssys_engine_call(engine, echo, payload, 1, &options, &reply, &error));
    REFUSES("options", airssys_engine_send(engine, echo, payload, 1, &options, &error));
    options.size = sizeof options;
    options.sender = "a/\xff/c";
    REFUSES("options.sender",
            airssys_engine_call(engine, echo, payload, 1, &options, &reply, &error));
    options.sender = "a/b";
    CHECK_STATUS(airssys_engine_call(engine, echo, payload, 1, &options, &reply, NULL),
                 AIRSSYS_ERROR_INVALID_ID);
    CHECK_STATUS(airssys_engine_send(engine, echo, payload, 1, &options, NULL),
                 AIRSSYS_ERROR_INVALID_ID);
    options.sender = NULL;
    options.content_type = "\xfe";
    REFUSES("options.content_type",
            airssys_engine_send(engine, echo, payload, 1, &options, &error));

    REFUSES("engine", airssys_engine_find(NULL, "test/echo/0", &handle, &error));
    REFUSES("id", airssys_engine_find(engine, NULL, &handle, &error));
    REFUSES("id", airssys_engine_find(engine, "\xff", &handle, &error));
    REFUSES("out_handle", airssys_engine_find(engine, "test/echo/0", NULL, &error));
    REFUSES("engine", airssys_engine_list(NULL, &reply, &error));
    REFUSES("out_json", airssys_engine_list(engine, NULL, &error));
    REFUSES("engine", airssys_engine_describe(NULL, echo, &reply, &error));
    REFUSES("out_json", airssys_engine_describe(engine, echo, NULL, &error));
    REFUSES("engine", airssys_engine_inspect(NULL, echo, &reply, &error));
    REFUSES("out_json", airssys_engine_inspect(engine, echo, NULL, &error));
    REFUSES("wasm", airssys_component_inspect(NULL, 8, &reply, &error));
    REFUSES("out_json", airssys_component_inspect((const uint8_t *)"", 0, NULL, &error));
    REFUSES("engine", airssys_engine_status(NULL, echo, &reply, &error));
    REFUSES("out_json", airssys_engine_status(engine, echo, NULL, &error));
    REFUSES("out_json", airssys_engine_status(engine, AIRSSYS_ALL_COMPONENTS, NULL, &error));
    REFUSES("engine", airssys_engine_health(NULL, echo, &reply, &error));
    REFUSES("out_json", airssys_engine_health(engine, echo, NULL, &error));
    REFUSES("engine", airssys_engine_stats(NULL, &reply, &error));
    REFUSES("out_json", airssys_engine_stats(engine, NULL, &error));
    REFUSES("engine", airssys_engine_set_policies(NULL, "{}", &error));
    REFUSES("json", airssys_engine_set_policies(engine, NULL, &error));
    REFUSES("json", airssys_engine_set_policies(engine, "\xff", &error));
    REFUSES("engine", airssys_engine_grant(NULL, echo, "{}", &error));
    REFUSES("json", airssys_engine_grant(engine, echo, NULL, &error));
    REFUSES("json", airssys_engine_grant(engine, echo, "\xff", &error));
    /* NULL is all there is. */
    REFUSES("engine", airssys_engine_revoke(NULL, echo, NULL, &error));
    REFUSES("json", airssys_engine_revoke(engine, echo, "\xff", &error));
    CHECK_OK(airssys_engine_revoke(engine, echo, NULL, NULL));
    REFUSES("engine", airssys_engine_explain(NULL, echo, "log.write", "", &reply, &error));
    REFUSES("action", airssys_engine_explain(engine, echo, NULL, "", &reply, &error));
    REFUSES("action", airssys_engine_explain(engine, echo, "\xff", "", &reply, &error));
    REFUSES("resource", airssys_engine_explain(engine, echo, "log.write", NULL, &reply, &error));
    REFUSES("resource", airssys_engine_explain(engine, echo, "log.write", "\xff", &reply, &error));
    REFUSES("out_json", airssys_engine_explain(engine, echo, "log.write", "", NULL, &error));
    CHECK(reply.data == NULL);

    newer_structs(engine, echo);
    requests(engine, echo);
    routed(engine);

    /* The engine still works. */
    CHECK_REPLY(engine, echo, "still here", "still here");
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    configurations();
    engines();

    /* No error output. */
    CHECK_STATUS(airssys_engine_shutdown(NULL, 0, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_config_new(NULL, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);

    /* Nothing is freed and nothing is written. */
    airssys_error_free(NULL);
    airssys_bytes_free(NULL);
    airssys_config_free(NULL);
    airssys_engine_free(NULL);
    CHECK(!airssys_writer_write(NULL, payload, 1));
    CHECK(!airssys_keys_push(NULL, "key"));
    airssys_writer_finish(NULL, AIRSSYS_STORAGE_OK);
    return check_done();
}
