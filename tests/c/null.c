/* Arguments that can not be used are a status that names them: NULL in every place, bad UTF-8, bad sizes. */
#include "host.h"

static const uint8_t payload[] = "x";

/* A call whose argument `name` is wrong. */
#define REFUSES(name, call)                                                        \
    do {                                                                           \
        airssys_error_t *error = NULL;                                             \
        CHECK_STATUS((call), AIRSSYS_ERROR_INVALID_ARGUMENT);                      \
        CHECK_CONTAINS(airssys_error_message(error), name);                        \
        CHECK_CONTAINS(airssys_error_detail_json(error), "\"argument\":\"" name "\""); \
        airssys_error_free(error);                                                 \
    } while (0)

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
    storage.size = sizeof storage - 1;
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

    /* What was refused stays the host's. */
    airssys_config_free(config);
    CHECK_NUMBER(drops, 0);
}

/* A host that was compiled with a newer header, whose struct has a field that this library lacks. */
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

    REFUSES("engine", airssys_engine_load(NULL, "a/b/c", payload, 1, NULL, &handle, &error));
    REFUSES("id", airssys_engine_load(engine, NULL, payload, 1, NULL, &handle, &error));
    REFUSES("id", airssys_engine_load(engine, "a/\xc3/c", payload, 1, NULL, &handle, &error));
    REFUSES("wasm", airssys_engine_load(engine, "a/b/c", NULL, 1, NULL, &handle, &error));
    REFUSES("wasm", airssys_engine_load(engine, "a/b/c", payload, SIZE_MAX, NULL, &handle, &error));
    REFUSES("options_json",
            airssys_engine_load(engine, "a/b/c", payload, 1, "\x80", &handle, &error));
    REFUSES("out_handle", airssys_engine_load(engine, "a/b/c", payload, 1, NULL, NULL, &error));

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
    REFUSES("engine", airssys_engine_health(NULL, echo, &reply, &error));
    REFUSES("out_json", airssys_engine_health(engine, echo, NULL, &error));
    REFUSES("engine", airssys_engine_stats(NULL, &reply, &error));
    REFUSES("out_json", airssys_engine_stats(engine, NULL, &error));
    CHECK(reply.data == NULL);

    newer_structs(engine, echo);

    /* Nothing of the above has hurt the engine. */
    CHECK_REPLY(engine, echo, "still here", "still here");
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    configurations();
    engines();

    /* No error is asked for. */
    CHECK_STATUS(airssys_engine_shutdown(NULL, 0, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_config_new(NULL, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);

    /* Nothing is released, nothing is written. */
    airssys_error_free(NULL);
    airssys_bytes_free(NULL);
    airssys_config_free(NULL);
    airssys_engine_free(NULL);
    CHECK(!airssys_writer_write(NULL, payload, 1));
    CHECK(!airssys_keys_push(NULL, "key"));
    airssys_writer_finish(NULL, AIRSSYS_STORAGE_OK);
    return check_done();
}
