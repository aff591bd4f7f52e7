/* A circle of callbacks over two engines is noticed as one within an engine is; reentry.c has those. */
#include "host.h"

struct log {
    /* What the callback calls, if anything. */
    airssys_engine_t *other;
    uint64_t handle;
    airssys_status_t status;
    unsigned records;
};

static void take(void *user_data, const airssys_log_record_t *record)
{
    struct log *log = user_data;
    (void)record;
    log->records++;
    if (log->other != NULL) {
        airssys_bytes_t reply = {0};
        log->status = call(log->other, log->handle, "log info inner", &reply, NULL);
        airssys_bytes_free(&reply);
    }
}

static airssys_engine_t *engine_on(struct log *log)
{
    airssys_config_t *config = new_config();
    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.user_data = log;
    logger.log = take;
    logger.min_level = AIRSSYS_LOG_INFO;
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    return engine;
}

int main(void)
{
    check_begin();
    struct log outer = {0}, inner = {0};
    airssys_engine_t *one = engine_on(&outer), *two = engine_on(&inner);
    (void)load(two, "echo"); /* So that the handles differ. */
    outer.handle = load(two, "chatty");
    outer.other = two;
    inner.handle = load(one, "chatty");
    inner.other = one;
    CHECK(outer.handle != inner.handle);
    CHECK_REPLY(one, inner.handle, "log info outer", "ok");
    CHECK_OK(outer.status);
    CHECK_STATUS(inner.status, AIRSSYS_ERROR_WOULD_DEADLOCK);
    airssys_engine_free(one);
    airssys_engine_free(two);
    return check_done();
}
