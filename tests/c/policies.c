/* Policies: rules over all components, changed while these run. A deny beats every grant. */
#include "holding_log.h"

#define DENIED(action, resource) "error: delivery-failed(capability denied: messaging." action " " resource ")"
#define STORAGE_DENIED(action) \
    "error: io-error(capability denied: storage." action " test/storage-user/0)"

static void set(airssys_engine_t *engine, const char *rules)
{
    char document[1024];
    airssys_error_t *error = NULL;
    snprintf(document, sizeof document, "{\"rules\": [%s]}", rules);
    CHECK_OK(airssys_engine_set_policies(engine, document, &error));
    if (error != NULL)
        fprintf(stderr, "%s\n", airssys_error_message(error));
    airssys_error_free(error);
}

/* The components of these tests are granted all of messaging and their own storage. */
struct world {
    airssys_engine_t *engine;
    uint64_t requester, user;
};

static struct world new_world(void)
{
    struct world world = {new_engine(), 0, 0};
    load(world.engine, "echo");
    world.requester = load(world.engine, "requester");
    world.user = load(world.engine, "storage-user");
    return world;
}

/* A rule applies from the next decision on, also to cached decisions. */
static void a_deny_beats_a_grant(void)
{
    struct world world = new_world();
    for (int round = 0; round < 3; round++) {
        CHECK_REPLY(world.engine, world.requester, "send test/echo/0 x", "ok");
        CHECK_REPLY(world.engine, world.user, "set k v", "ok");
        /* The reason is for the record, not for the guest. */
        set(world.engine, "{\"effect\": \"deny\", \"action\": \"messaging.send\", "
                          "\"resource\": \"test/echo/*\", \"reason\": \"secret\"}");
        CHECK_REPLY(world.engine, world.requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));
        /* Nothing else is. */
        CHECK_REPLY(world.engine, world.requester, "send test/requester/0 note x", "ok");
        CHECK_REPLY(world.engine, world.requester, "broadcast test/echo/0 x", "ok");
        CHECK_REPLY(world.engine, world.user, "set k v", "ok");
        /* A later grant does not override it. */
        CHECK_OK(airssys_engine_grant(world.engine, world.requester,
                                      "{\"messaging\": {\"send\": [\"test/echo/0\"]}}", NULL));
        CHECK_REPLY(world.engine, world.requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));

        /* A set replaces the previous one. */
        set(world.engine, "{\"effect\": \"deny\", \"action\": \"storage.write\"}");
        CHECK_REPLY(world.engine, world.requester, "send test/echo/0 x", "ok");
        CHECK_REPLY(world.engine, world.user, "set k w", STORAGE_DENIED("write"));
        CHECK_REPLY(world.engine, world.user, "get k", "v");
        set(world.engine, "");
    }
    airssys_engine_free(world.engine);
}

/* Which components and resources a rule matches. */
static void what_rules_cover(void)
{
    static const struct {
        const char *rule;
        bool sends, requests, writes, reads;
    } cases[] = {
        {"{\"effect\": \"deny\"}", false, false, false, false},
        {"{\"effect\": \"deny\", \"action\": \"*\"}", false, false, false, false},
        {"{\"effect\": \"deny\", \"action\": \"messaging.*\"}", false, false, true, true},
        {"{\"effect\": \"deny\", \"action\": \"messaging.request\"}", true, false, true, true},
        {"{\"effect\": \"deny\", \"action\": \"storage.*\"}", true, true, false, false},
        {"{\"effect\": \"deny\", \"action\": \"storage.read\", \"resource\": \"test/storage-user/*\"}",
         true, true, true, false},
        {"{\"effect\": \"deny\", \"component\": \"test/storage-user/*\"}", true, true, false, false},
        {"{\"effect\": \"deny\", \"component\": \"other/**\"}", true, true, true, true},
        {"{\"effect\": \"deny\", \"resource\": \"test/echo/0\"}", false, false, true, true},
        {"{\"effect\": \"deny\", \"action\": \"network.*\"}", true, true, true, true},
        {"{\"effect\": \"allow\"}", true, true, true, true},
    };
    struct world world = new_world();
    airssys_bytes_t id = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set(world.engine, cases[i].rule);
        CHECK_REPLY(world.engine, world.requester, "send test/echo/0 x",
                    cases[i].sends ? "ok" : DENIED("send", "test/echo/0"));
        CHECK_OK(call(world.engine, world.requester, "request test/echo/0 1000 x", &id, NULL));
        CHECK_NUMBER(id.len == 16, cases[i].requests);
        airssys_bytes_free(&id);
        CHECK_REPLY(world.engine, world.user, "set k v",
                    cases[i].writes ? "ok" : STORAGE_DENIED("write"));
        CHECK_REPLY(world.engine, world.user, "list", cases[i].reads ? "k" : STORAGE_DENIED("read"));
        set(world.engine, "");
        CHECK_REPLY(world.engine, world.user, "set k v", "ok");
    }
    airssys_engine_free(world.engine);
}

/* The first rule that applies decides. */
static void order(void)
{
#define ALLOW_ECHO "{\"effect\": \"allow\", \"action\": \"messaging.send\", \"resource\": \"test/echo/0\"}"
#define DENY_ALL "{\"effect\": \"deny\", \"action\": \"messaging.*\"}"
    struct world world = new_world();
    set(world.engine, ALLOW_ECHO ", " DENY_ALL);
    CHECK_REPLY(world.engine, world.requester, "send test/echo/0 x", "ok");
    CHECK_REPLY(world.engine, world.requester, "send test/requester/0 note x",
                DENIED("send", "test/requester/0"));
    CHECK_REPLY(world.engine, world.requester, "request test/echo/0 1000 x",
                DENIED("request", "test/echo/0"));
    set(world.engine, DENY_ALL ", " ALLOW_ECHO);
    CHECK_REPLY(world.engine, world.requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));

    /* An allow rule does not replace the grant. */
    set(world.engine, ALLOW_ECHO ", {\"effect\": \"allow\"}");
    CHECK_OK(airssys_engine_revoke(world.engine, world.requester, NULL, NULL));
    CHECK_REPLY(world.engine, world.requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));
    CHECK_REPLY(world.engine, world.requester, "list", "");
    airssys_engine_free(world.engine);
}

/* Only rules deny what every component may do. */
static void what_is_open(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t chatty = load(engine, "chatty"), requester = load(engine, "requester");
    char cancel[64] = "cancel ";
    airssys_bytes_t id = {0};

    CHECK_REPLY(engine, chatty, "log info first", "ok");
    set(engine, "{\"effect\": \"deny\", \"action\": \"log.write\"}");
    /* The guest is not told: `log` has no result. */
    CHECK_REPLY(engine, chatty, "log info second", "ok");
    set(engine, "");
    CHECK_REPLY(engine, chatty, "log info third", "ok");
    CHECK_WRITTEN(&log, "first third ");

    /* Clocks have no error either, so the call ends. */
    set(engine, "{\"effect\": \"deny\", \"action\": \"clock.read\", \"component\": \"test/chatty/*\"}");
    CHECK_FAILS(engine, chatty, "time", AIRSSYS_ERROR_TRAP, "capability denied: clock.read");
    CHECK_FAILS(engine, chatty, "millis", AIRSSYS_ERROR_TRAP, "capability denied: clock.read");
    CHECK_REPLY(engine, chatty, "log info fourth", "ok");
    CHECK_WRITTEN(&log, "first third fourth ");

    /* A component's open request is not affected. */
    CHECK_OK(send_text(engine, chatty, HOLD));
    wait_until_held(&log, 1);
    CHECK_OK(call(engine, requester, "request test/chatty/0 60000 log info fifth", &id, NULL));
    REQUIRE(id.len == 16);
    strncat(cancel, (const char *)id.data, 16);
    airssys_bytes_free(&id);
    set(engine, "{\"effect\": \"deny\", \"action\": \"messaging.cancel\"}");
    char expected[128];
    snprintf(expected, sizeof expected, DENIED("cancel", "%s"), cancel + strlen("cancel "));
    CHECK_REPLY(engine, requester, cancel, expected);
    set(engine, "");
    CHECK_REPLY(engine, requester, cancel, "ok");
    let_go(&log, 1);

    /* A component sees the components it may send to, unless a rule denies that. */
    set(engine, "{\"effect\": \"deny\", \"action\": \"directory.list\", \"resource\": \"test/chatty/*\"}");
    CHECK_REPLY(engine, requester, "list", "test/requester/0");
    CHECK_REPLY(engine, requester, "metadata test/chatty/0",
                "error: invalid-state(capability denied: directory.list test/chatty/0)");
    CHECK_REPLY(engine, requester, "send test/chatty/0 log info sixth", "ok");
    airssys_engine_free(engine);
}

/* An engine starts with the policies of its configuration. */
static void of_a_configuration(void)
{
    airssys_config_t *config = new_config();
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_config_set_json(config, "{\"policies\": {\"rules\": [{\"effect\": \"no\"}]}}",
                                         &error),
                 AIRSSYS_ERROR_INVALID_OPTIONS);
    CHECK_CONTAINS(airssys_error_message(error), "policies.rules[0].effect");
    airssys_error_free(error);
    CHECK_OK(airssys_config_set_json(
        config, "{\"policies\": {\"rules\": [{\"effect\": \"deny\", \"action\": \"messaging.send\"}]}}",
        NULL));
    airssys_engine_t *first = engine_with(config), *second = engine_with(config);
    airssys_config_free(config);
    uint64_t requesters[2] = {load(first, "requester"), load(second, "requester")};
    CHECK_REPLY(first, requesters[0], "send test/requester/0 note x",
                DENIED("send", "test/requester/0"));
    /* Engines do not share later changes. */
    set(first, "");
    CHECK_REPLY(first, requesters[0], "send test/requester/0 note x", "ok");
    CHECK_REPLY(second, requesters[1], "send test/requester/0 note x",
                DENIED("send", "test/requester/0"));
    airssys_engine_free(first);
    airssys_engine_free(second);
}

static void invalid(void)
{
    static const struct {
        const char *document, *part;
    } cases[] = {
        {"", "policies"},
        {"[]", "policies"},
        {"{\"rule\": []}", "did you mean \"rules\"?"},
        {"{\"rules\": {}}", "policies.rules"},
        {"{\"rules\": [{}]}", "policies.rules[0].effect"},
        {"{\"rules\": [{\"effect\": \"forbid\"}]}", "policies.rules[0].effect: \"forbid\""},
        {"{\"rules\": [{\"effect\": \"allow\"}, {\"effect\": \"deny\", \"component\": \"app\"}]}",
         "policies.rules[1].component: \"app\""},
        {"{\"rules\": [{\"effect\": \"allow\", \"action\": \"messaging\"}]}",
         "policies.rules[0].action: \"messaging\""},
        {"{\"rules\": [{\"effect\": \"allow\", \"acton\": \"*\"}]}", "did you mean \"action\"?"},
        {"{\"rules\": [{\"effect\": \"allow\", \"reason\": 1}]}", "policies.rules[0].reason"},
    };
    struct world world = new_world();
    set(world.engine, "{\"effect\": \"deny\", \"action\": \"messaging.send\"}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        airssys_error_t *error = NULL;
        CHECK_STATUS(airssys_engine_set_policies(world.engine, cases[i].document, &error),
                     AIRSSYS_ERROR_INVALID_OPTIONS);
        CHECK_CONTAINS(airssys_error_message(error), cases[i].part);
        airssys_error_free(error);
        CHECK_REPLY(world.engine, world.requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));
        CHECK_REPLY(world.engine, world.user, "set k v", "ok");
    }
    CHECK_OK(airssys_engine_set_policies(world.engine, "{}", NULL));
    CHECK_REPLY(world.engine, world.requester, "send test/echo/0 x", "ok");
    airssys_engine_free(world.engine);
}

int main(void)
{
    check_begin();
    a_deny_beats_a_grant();
    what_rules_cover();
    order();
    what_is_open();
    of_a_configuration();
    invalid();
    return check_done();
}
