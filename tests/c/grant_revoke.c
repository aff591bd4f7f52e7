/* Grants that change while a component runs, by calls of the host or by time. */
#include "host.h"

#include <time.h>

#define DENIED(action, id) "error: delivery-failed(capability denied: messaging." action " " id ")"

static uint64_t load_granted(airssys_engine_t *engine, const char *guest, const char *capabilities)
{
    char id[64], options[512];
    snprintf(id, sizeof id, "test/%s/0", guest);
    snprintf(options, sizeof options, "{\"capabilities\": %s}", capabilities);
    return load_as(engine, id, guest, options);
}

/* Each change applies from the next decision on. */
static void come_and_go(void)
{
    static const char grant[] = "{\"messaging\": {\"send\": [\"test/*/0\"]}}";
    airssys_engine_t *engine = new_strict_engine();
    load(engine, "echo");
    uint64_t requester = load(engine, "requester"), user = load(engine, "storage-user");
    for (int round = 0; round < 3; round++) {
        CHECK_REPLY(engine, requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));
        CHECK_OK(airssys_engine_grant(engine, requester, grant, NULL));
        CHECK_REPLY(engine, requester, "send test/echo/0 x", "ok");
        CHECK_REPLY(engine, requester, "list", "test/echo/0\ntest/requester/0\ntest/storage-user/0");
        /* The grant covers no other component and no other action. */
        CHECK_REPLY(engine, requester, "request test/echo/0 1000 x", DENIED("request", "test/echo/0"));
        CHECK_REPLY(engine, user, "list",
                    "error: io-error(capability denied: storage.read test/storage-user/0)");
        CHECK_OK(airssys_engine_revoke(engine, requester, grant, NULL));
        CHECK_REPLY(engine, requester, "list", "");
    }

    CHECK_OK(airssys_engine_grant(engine, user, "{\"storage\": [\"write\", \"read\"]}", NULL));
    CHECK_REPLY(engine, user, "set k v", "ok");
    CHECK_REPLY(engine, user, "get k", "v");
    CHECK_OK(airssys_engine_revoke(engine, user, "{\"storage\": [\"write\"]}", NULL));
    CHECK_REPLY(engine, user, "set k w",
                "error: io-error(capability denied: storage.write test/storage-user/0)");
    /* Stored values are kept. */
    CHECK_REPLY(engine, user, "get k", "v");
    airssys_engine_free(engine);
}

/* A grant is revoked in the form in which it was granted, completely or not at all. */
static void by_name(void)
{
    airssys_engine_t *engine = new_strict_engine();
    airssys_error_t *error = NULL;
    load(engine, "echo");
    uint64_t requester = load_granted(engine, "requester",
                                      "{\"messaging\": {\"send\": [\"test/**\", \"test/*/0\"], "
                                      "\"request\": [\"test/**\"]}}");

    static const char *const not_held[] = {
        /* A part of a pattern, another spelling, another action. */
        "{\"messaging\": {\"send\": [\"test/echo/0\"]}}",
        "{\"messaging\": {\"send\": [\"test/*/*\"]}}",
        "{\"messaging\": {\"broadcast\": [\"test/**\"]}}",
        "{\"storage\": [\"read\"]}",
        /* Nothing is revoked unless all of it is held. */
        "{\"messaging\": {\"send\": [\"test/**\", \"test/echo/0\"]}}",
        "{\"messaging\": {\"send\": [\"test/**\"]}, \"storage\": [\"read\"]}",
    };
    for (size_t i = 0; i < sizeof not_held / sizeof *not_held; i++) {
        CHECK_STATUS(airssys_engine_revoke(engine, requester, not_held[i], &error),
                     AIRSSYS_ERROR_INVALID_OPTIONS);
        CHECK_CONTAINS(airssys_error_message(error), "test/requester/0 holds no grant ");
        CHECK_CONTAINS(airssys_error_detail_json(error), "\"component\":\"test/requester/0\"");
        airssys_error_free(error);
        error = NULL;
        CHECK_REPLY(engine, requester, "send test/echo/0 x", "ok");
    }
    CHECK_STATUS(airssys_engine_revoke(engine, requester, not_held[0], &error),
                 AIRSSYS_ERROR_INVALID_OPTIONS);
    CHECK_TEXT(airssys_error_message(error),
               "test/requester/0 holds no grant messaging.send test/echo/0");
    airssys_error_free(error);

    /* Another grant still covers it, then none. */
    CHECK_OK(airssys_engine_revoke(engine, requester, "{\"messaging\": {\"send\": [\"test/**\"]}}",
                                   NULL));
    CHECK_REPLY(engine, requester, "send test/echo/0 x", "ok");
    CHECK_OK(airssys_engine_revoke(engine, requester, "{\"messaging\": {\"send\": [\"test/*/0\"]}}",
                                   NULL));
    CHECK_REPLY(engine, requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));
    CHECK_STATUS(airssys_engine_revoke(engine, requester,
                                       "{\"messaging\": {\"send\": [\"test/*/0\"]}}", NULL),
                 AIRSSYS_ERROR_INVALID_OPTIONS);
    /* An empty set is valid, too. */
    CHECK_OK(airssys_engine_revoke(engine, requester, "{}", NULL));
    CHECK_REPLY(engine, requester, "list", "test/echo/0\ntest/requester/0");
    airssys_engine_free(engine);
}

static void all_of_them(void)
{
    airssys_engine_t *engine = new_engine();
    load(engine, "echo");
    uint64_t requester = load(engine, "requester"), user = load(engine, "storage-user");
    CHECK_REPLY(engine, requester, "send test/echo/0 x", "ok");
    CHECK_REPLY(engine, user, "set k v", "ok");
    for (int round = 0; round < 2; round++) {
        CHECK_OK(airssys_engine_revoke(engine, requester, NULL, NULL));
        CHECK_REPLY(engine, requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));
        CHECK_REPLY(engine, requester, "list", "");
    }
    CHECK_REPLY(engine, user, "get k", "v");
    airssys_engine_free(engine);
}

/* An invalid document or an unknown handle changes nothing. */
static void invalid(void)
{
    static const char *const documents[] = {
        "",
        "{",
        "[]",
        "{\"mesaging\": {}}",
        "{\"messaging\": {\"send\": [\"**\"], \"sned\": [\"**\"]}}",
        "{\"messaging\": {\"send\": [\"**\", \"a\"]}}",
        "{\"messaging\": {\"send\": [\"**\"]}, \"storage\": [\"reed\"]}",
        "{\"messaging\": {\"send\": [\"**\"]}, \"expires-in-ms\": \"soon\"}",
    };
    airssys_engine_t *engine = new_strict_engine();
    load(engine, "echo");
    uint64_t requester = load(engine, "requester");
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        airssys_error_t *error = NULL;
        CHECK_STATUS(airssys_engine_grant(engine, requester, documents[i], &error),
                     AIRSSYS_ERROR_INVALID_OPTIONS);
        CHECK_CONTAINS(airssys_error_message(error), "capabilities");
        airssys_error_free(error);
        CHECK_STATUS(airssys_engine_revoke(engine, requester, documents[i], NULL),
                     AIRSSYS_ERROR_INVALID_OPTIONS);
        CHECK_REPLY(engine, requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));
    }

    uint64_t gone = load_as(engine, "test/gone/0", "echo", NULL);
    CHECK_OK(airssys_engine_unload(engine, gone, NULL));
    uint64_t nobody[] = {0, gone, UINT64_MAX};
    for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++) {
        CHECK_STATUS(airssys_engine_grant(engine, nobody[i], "{}", NULL),
                     AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
        CHECK_STATUS(airssys_engine_revoke(engine, nobody[i], NULL, NULL),
                     AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    }
    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    CHECK_STATUS(airssys_engine_grant(engine, requester, "{}", NULL), AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK_STATUS(airssys_engine_revoke(engine, requester, NULL, NULL), AIRSSYS_ERROR_ENGINE_STOPPED);
    airssys_engine_free(engine);
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* When a grant expires. */
static long long until(airssys_engine_t *engine, uint64_t handle, const char *action,
                       const char *resource)
{
    airssys_bytes_t json = {0};
    CHECK_OK(airssys_engine_explain(engine, handle, action, resource, &json, NULL));
    long long until = number_in(&json, "until-ms");
    airssys_bytes_free(&json);
    return until;
}

static bool succeeds(airssys_engine_t *engine, uint64_t handle, const char *command)
{
    airssys_bytes_t reply = {0};
    REQUIRE(call(engine, handle, command, &reply, NULL) == AIRSSYS_OK);
    bool succeeded = reply.len == 2 && memcmp(reply.data, "ok", 2) == 0;
    airssys_bytes_free(&reply);
    return succeeded;
}

/* A temporary grant: the action is allowed, then denied. */
static void check_ends(airssys_engine_t *engine, uint64_t handle, const char *grants,
                       const char *action, const char *resource, const char *command,
                       const char *denied)
{
    char grant[256];
    CHECK_REPLY(engine, handle, command, denied);
    /* Tries a longer time if the grant has expired before its first use. */
    for (unsigned ms = 50; !succeeds(engine, handle, command); ms *= 2) {
        snprintf(grant, sizeof grant, "{%s, \"expires-in-ms\": %u}", grants, ms);
        CHECK_OK(airssys_engine_grant(engine, handle, grant, NULL));
    }
    long long expires = until(engine, handle, action, resource);
    while (succeeds(engine, handle, command))
        sched_yield();
    CHECK(now_ms() >= expires);
    CHECK_REPLY(engine, handle, command, denied);
}

static void with_time(void)
{
    airssys_engine_t *engine = new_strict_engine();
    /* A mailbox that drops the oldest message, so that no send fails for lack of room. */
    load_as(engine, "test/echo/0", "echo", "{\"mailbox\": {\"when-full\": \"drop-oldest\"}}");
    long long begin = now_ms();
    uint64_t requester =
        load_granted(engine, "requester",
                     "[{\"messaging\": {\"send\": [\"test/echo/0\"]}, \"expires-at-ms\": 1}, "
                     "{\"messaging\": {\"request\": [\"test/echo/0\"]}, "
                     "\"expires-in-ms\": 3600000}]");
    long long expires = until(engine, requester, "messaging.request", "test/echo/0");
    /* The library's clock may lag by some milliseconds. */
    CHECK(expires > begin && expires <= now_ms() + 3600000);
    check_ends(engine, requester, "\"messaging\": {\"send\": [\"test/echo/0\"]}", "messaging.send",
               "test/echo/0", "send test/echo/0 x", DENIED("send", "test/echo/0"));
    uint64_t user = load(engine, "storage-user");
    check_ends(engine, user, "\"storage\": [\"write\"]", "storage.write", "test/storage-user/0",
               "set k v", "error: io-error(capability denied: storage.write test/storage-user/0)");

    /* An expired grant stays in the list until it is revoked or renewed. */
    CHECK_OK(airssys_engine_grant(engine, requester, "{\"messaging\": {\"send\": [\"test/echo/0\"]}}",
                                  NULL));
    CHECK_NUMBER(until(engine, requester, "messaging.send", "test/echo/0"), 0);
    CHECK_REPLY(engine, requester, "send test/echo/0 x", "ok");
    /* The same grant with an expiry replaces the one without. */
    CHECK_OK(airssys_engine_grant(engine, requester,
                                  "{\"messaging\": {\"send\": [\"test/echo/0\"]}, "
                                  "\"expires-at-ms\": 1}",
                                  NULL));
    CHECK_REPLY(engine, requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));
    CHECK_OK(airssys_engine_revoke(engine, requester,
                                   "{\"messaging\": {\"send\": [\"test/echo/0\"]}}", NULL));

    /* Of two grants for the same action the longer one counts. */
    CHECK_OK(airssys_engine_grant(engine, requester,
                                  "{\"messaging\": {\"send\": [\"test/**\"]}, "
                                  "\"expires-at-ms\": 9999999999999}",
                                  NULL));
    CHECK_OK(airssys_engine_grant(engine, requester,
                                  "{\"messaging\": {\"send\": [\"**\"]}, \"expires-at-ms\": 1}",
                                  NULL));
    CHECK_NUMBER(until(engine, requester, "messaging.send", "test/echo/0"), 9999999999999);
    CHECK_REPLY(engine, requester, "send test/echo/0 x", "ok");
    airssys_engine_free(engine);
}

/* The instances of a pool share their rights. */
static void of_a_pool(void)
{
    static const char grant[] = "{\"messaging\": {\"send\": [\"test/echo/0\"]}}";
    airssys_engine_t *engine = new_strict_engine();
    load(engine, "echo");
    uint64_t pool = load_as(engine, "test/requester/0", "requester", "{\"instances\": 3}");
    CHECK_OK(airssys_engine_grant(engine, pool, grant, NULL));
    for (int i = 0; i < 9; i++)
        CHECK_REPLY(engine, pool, "send test/echo/0 x", "ok");
    CHECK_OK(airssys_engine_revoke(engine, pool, grant, NULL));
    for (int i = 0; i < 9; i++)
        CHECK_REPLY(engine, pool, "send test/echo/0 x", DENIED("send", "test/echo/0"));
    airssys_engine_free(engine);
}

/* Grants belong to a component, not to its id: they end with the unload and survive crashes. */
static void of_a_component(void)
{
    static const char grant[] = "{\"messaging\": {\"send\": [\"test/**\"]}}";
    airssys_engine_t *engine = new_strict_engine();
    uint64_t requester = load(engine, "requester");
    CHECK_OK(airssys_engine_grant(engine, requester, grant, NULL));
    uint64_t same_id = load(engine, "requester");
    CHECK_REPLY(engine, requester, "send test/requester/0 note x", "ok");
    CHECK_REPLY(engine, same_id, "send test/requester/0 note x", DENIED("send", "test/requester/0"));
    CHECK_OK(airssys_engine_unload(engine, requester, NULL));
    requester = load(engine, "requester");
    CHECK_REPLY(engine, requester, "send test/requester/0 note x",
                DENIED("send", "test/requester/0"));

    uint64_t hostile = load(engine, "hostile");
    CHECK_OK(airssys_engine_grant(engine, hostile, grant, NULL));
    CHECK_FAILS(engine, hostile, "raw-enum 99", AIRSSYS_ERROR_TRAP, "test/hostile/0");
    CHECK_REPLY(engine, hostile, "send-many 1 test/requester/0 note x", "1");
    airssys_engine_free(engine);
}

struct changer {
    airssys_engine_t *engine;
    uint64_t handle;
    bool revokes;
};

/* A component gains or loses a right while it waits for a log callback. */
static void change_in_log(void *user_data, const airssys_log_record_t *record)
{
    static const char grant[] = "{\"storage\": [\"write\"]}";
    struct changer *changer = user_data;
    (void)record;
    CHECK_OK(changer->revokes
                 ? airssys_engine_revoke(changer->engine, changer->handle, grant, NULL)
                 : airssys_engine_grant(changer->engine, changer->handle, grant, NULL));
}

static void from_callbacks(void)
{
    struct changer changer = {0};
    airssys_config_t *config = new_strict_config();
    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.user_data = &changer;
    logger.log = change_in_log;
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = changer.engine = engine_with(config);
    airssys_config_free(config);
    uint64_t hostile = changer.handle = load(engine, "hostile");
    for (int round = 0; round < 3; round++) {
        CHECK_REPLY(engine, hostile, "set-many 1 1",
                    "0 error: io-error(capability denied: storage.write test/hostile/0)");
        changer.revokes = false;
        CHECK_REPLY(engine, hostile, "log-many 1 1", "ok");
        CHECK_REPLY(engine, hostile, "set-many 1 1", "1");
        changer.revokes = true;
        CHECK_REPLY(engine, hostile, "log-many 1 1", "ok");
    }
    airssys_engine_free(engine);
}

enum { ROUNDS = 500 };

static void *grant_and_revoke(void *argument)
{
    static const char grant[] = "{\"messaging\": {\"send\": [\"test/echo/0\"]}}";
    const struct changer *changer = argument;
    for (int round = 0; round < ROUNDS; round++) {
        CHECK_OK(airssys_engine_grant(changer->engine, changer->handle, grant, NULL));
        CHECK_OK(airssys_engine_revoke(changer->engine, changer->handle, grant, NULL));
    }
    return NULL;
}

/* Every action during the changes is either allowed or denied. */
static void meanwhile(void)
{
    static const char denied[] = DENIED("send", "test/echo/0");
    airssys_engine_t *engine = new_strict_engine();
    struct changer changer = {engine, load(engine, "requester"), false};
    load(engine, "echo");
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, grant_and_revoke, &changer) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        airssys_bytes_t reply = {0};
        CHECK_OK(call(engine, changer.handle, "send test/echo/0 x", &reply, NULL));
        CHECK((reply.len == 2 && memcmp(reply.data, "ok", 2) == 0) ||
              (reply.len == strlen(denied) && memcmp(reply.data, denied, reply.len) == 0));
        airssys_bytes_free(&reply);
    }
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_REPLY(engine, changer.handle, "send test/echo/0 x", denied);
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    come_and_go();
    by_name();
    all_of_them();
    invalid();
    with_time();
    of_a_pool();
    of_a_component();
    from_callbacks();
    meanwhile();
    return check_done();
}
