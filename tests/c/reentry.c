/* Callbacks call the library: everything works, except calls that would wait for themselves. */
#include "host.h"

/* What a log callback does for the component that logs; `log info now` triggers it. */
struct host {
    airssys_engine_t *engine;
    uint64_t first, second, third;
    void (*act)(struct host *host);
    unsigned acted;
    pthread_mutex_t lock;
    pthread_cond_t done;
};

static void on_log(void *user_data, const airssys_log_record_t *record)
{
    struct host *host = user_data;
    if (strcmp(record->message, "now") != 0)
        return;
    host->act(host);
    pthread_mutex_lock(&host->lock);
    host->acted++;
    pthread_cond_broadcast(&host->done);
    pthread_mutex_unlock(&host->lock);
}

static void act_on_others(struct host *host)
{
    uint64_t found = 0, loaded;
    airssys_bytes_t out = {0};
    CHECK_REPLY(host->engine, host->second, "hello", "hello");
    CHECK_OK(airssys_engine_send(host->engine, host->second, NULL, 0, NULL, NULL));
    CHECK_OK(airssys_engine_health(host->engine, host->second, &out, NULL));
    airssys_bytes_free(&out);
    CHECK_OK(airssys_engine_health(host->engine, AIRSSYS_ALL_COMPONENTS, &out, NULL));
    CHECK_CONTAINS((const char *)out.data, "\"live\":true");
    airssys_bytes_free(&out);
    loaded = load_as(host->engine, "test/loaded/0", "counter", NULL);
    CHECK_REPLY(host->engine, loaded, "inc", "1");
    CHECK_OK(airssys_engine_find(host->engine, "test/loaded/0", &found, NULL));
    CHECK_NUMBER(found, loaded);
    CHECK_OK(airssys_engine_stop(host->engine, loaded, UINT64_MAX, NULL));
    CHECK_OK(airssys_engine_wait(host->engine, loaded, "stopped", 0, NULL));
    CHECK_OK(airssys_engine_start(host->engine, loaded, NULL));
    CHECK_REPLY(host->engine, loaded, "inc", "1");
    char path[4096];
    CHECK_OK(airssys_engine_replace_file(host->engine, loaded,
                                         guest_path("echo", path, sizeof path), NULL, NULL));
    CHECK_REPLY(host->engine, loaded, "hello", "hello");
    CHECK_OK(airssys_engine_rollback(host->engine, loaded, NULL));
    CHECK_OK(airssys_engine_replace(host->engine, loaded, NULL, 0, NULL, NULL));
    CHECK_REPLY(host->engine, loaded, "inc", "1");
    CHECK_OK(airssys_engine_unload(host->engine, loaded, NULL));

    /* Another engine, and configurations. */
    airssys_engine_t *other = new_engine();
    uint64_t echo = load(other, "echo");
    airssys_engine_free(other);
    CHECK(echo != 0);
}

static void act_on_itself(struct host *host)
{
    airssys_bytes_t out = {0};
    airssys_error_t *error = NULL;
    CHECK_FAILS(host->engine, host->first, "log info deeper", AIRSSYS_ERROR_WOULD_DEADLOCK,
                "test/first/0");
    CHECK_STATUS(airssys_engine_health(host->engine, host->first, &out, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_STATUS(airssys_engine_unload(host->engine, host->first, &error),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_CONTAINS(airssys_error_message(error), "test/first/0");
    airssys_error_free(error);
    CHECK_STATUS(airssys_engine_stop(host->engine, host->first, 0, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_STATUS(airssys_engine_start(host->engine, host->first, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_STATUS(airssys_engine_restart(host->engine, host->first, 0, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_STATUS(airssys_engine_wait(host->engine, host->first, "crashed", 0, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    char path[4096];
    CHECK_STATUS(airssys_engine_replace(host->engine, host->first, NULL, 0, NULL, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_STATUS(airssys_engine_replace_file(host->engine, host->first,
                                             guest_path("echo", path, sizeof path), NULL, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_STATUS(airssys_engine_rollback(host->engine, host->first, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    /* Not even those that could be stopped. */
    CHECK_STATUS(airssys_engine_stop(host->engine, AIRSSYS_ALL_COMPONENTS, 0, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_STATUS(airssys_engine_start(host->engine, AIRSSYS_ALL_COMPONENTS, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_REPLY(host->engine, host->second, "hello", "hello");
    CHECK_STATUS(airssys_engine_shutdown(host->engine, 1000, NULL), AIRSSYS_ERROR_WOULD_DEADLOCK);

    /* A timeout does not help: the deadlock is certain. */
    airssys_message_options_t options = {0};
    options.size = sizeof options;
    options.timeout_ms = 60000;
    CHECK_STATUS(airssys_engine_call(host->engine, host->first, NULL, 0, &options, &out, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);

    /* Functions that do not wait work. */
    CHECK_OK(airssys_engine_describe(host->engine, host->first, &out, NULL));
    CHECK_CONTAINS((const char *)out.data, "test/first/0");
    airssys_bytes_free(&out);
    CHECK_OK(airssys_engine_status(host->engine, host->first, &out, NULL));
    CHECK_CONTAINS((const char *)out.data, "\"state\":\"running\"");
    airssys_bytes_free(&out);
    CHECK_OK(airssys_engine_list(host->engine, &out, NULL));
    airssys_bytes_free(&out);
    CHECK_OK(airssys_engine_stats(host->engine, &out, NULL));
    airssys_bytes_free(&out);
    CHECK_OK(airssys_engine_send(host->engine, host->first, (const uint8_t *)"log info later", 14,
                                 NULL, NULL));
}

static void second_calls_first(struct host *host)
{
    CHECK_FAILS(host->engine, host->first, "log info deeper", AIRSSYS_ERROR_WOULD_DEADLOCK,
                "test/first/0");
}

/* The first one's callback waits for the third, whose callback would wait for the first. */
static void call_in_a_circle(struct host *host)
{
    host->act = second_calls_first;
    CHECK_REPLY(host->engine, host->third, "log info now", "ok");
    host->act = call_in_a_circle;
}

/* Triggers the callback on this thread and on a worker. */
static void both_ways(struct host *host, void (*act)(struct host *host))
{
    unsigned before = host->acted;
    host->act = act;
    CHECK_REPLY(host->engine, host->first, "log info now", "ok");
    CHECK(host->acted > before);

    pthread_mutex_lock(&host->lock);
    before = host->acted;
    pthread_mutex_unlock(&host->lock);
    CHECK_OK(airssys_engine_send(host->engine, host->first, (const uint8_t *)"log info now", 12,
                                 NULL, NULL));
    pthread_mutex_lock(&host->lock);
    while (host->acted == before)
        pthread_cond_wait(&host->done, &host->lock);
    pthread_mutex_unlock(&host->lock);

    /* A later message: when it is answered, the first one has ended. */
    CHECK_REPLY(host->engine, host->first, "log info after", "ok");
}

int main(void)
{
    check_begin();
    struct host host = {0};
    pthread_mutex_init(&host.lock, NULL);
    pthread_cond_init(&host.done, NULL);
    airssys_config_t *config = new_config();
    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.user_data = &host;
    logger.log = on_log;
    logger.min_level = AIRSSYS_LOG_INFO;
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    host.engine = engine_with(config);
    airssys_config_free(config);
    host.first = load_as(host.engine, "test/first/0", "chatty", NULL);
    host.second = load_as(host.engine, "test/second/0", "echo", NULL);
    host.third = load_as(host.engine, "test/third/0", "chatty", NULL);

    both_ways(&host, act_on_others);
    both_ways(&host, act_on_itself);
    both_ways(&host, call_in_a_circle);

    /* Refused calls leave nothing behind: all components answer. */
    CHECK_REPLY(host.engine, host.first, "log info outside", "ok");
    CHECK_REPLY(host.engine, host.third, "log info outside", "ok");
    airssys_engine_free(host.engine);
    return check_done();
}
