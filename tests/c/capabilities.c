/* Capabilities: nothing is allowed that was not granted, and what is hidden does not show in errors. */
#include "host.h"

#define DENIED(action, resource) "error: delivery-failed(capability denied: messaging." action " " resource ")"
#define STORAGE_DENIED(action) \
    "error: io-error(capability denied: storage." action " test/storage-user/0)"

/* Calls and copies the reply. */
static const char *reply_to(airssys_engine_t *engine, uint64_t handle, const char *text, char *copy,
                            size_t size)
{
    airssys_bytes_t reply = {0};
    CHECK_OK(call(engine, handle, text, &reply, NULL));
    snprintf(copy, size, "%.*s", (int)reply.len,
             reply.data != NULL ? (const char *)reply.data : "");
    airssys_bytes_free(&reply);
    return copy;
}

static void check_denied_all(airssys_engine_t *engine)
{
    uint64_t echo = load(engine, "echo"), requester = load(engine, "requester");
    uint64_t user = load(engine, "storage-user"), chatty = load(engine, "chatty");
    long long accepted = described(engine, echo, "messages.accepted");

    CHECK_REPLY(engine, requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));
    CHECK_REPLY(engine, requester, "request test/echo/0 1000 x", DENIED("request", "test/echo/0"));
    CHECK_REPLY(engine, requester, "broadcast test/echo/0 x",
                "error: delivery-failed(test/echo/0: delivery-failed: "
                "capability denied: messaging.broadcast test/echo/0)");
    /* Also itself. */
    CHECK_REPLY(engine, requester, "send test/requester/0 note x",
                DENIED("send", "test/requester/0"));
    CHECK_REPLY(engine, requester, "list", "");
    CHECK_REPLY(engine, requester, "metadata test/echo/0",
                "error: invalid-state(capability denied: directory.list test/echo/0)");
    CHECK_REPLY(engine, requester, "received", "[]");
    CHECK_REPLY(engine, requester, "callbacks", "[]");
    CHECK_NUMBER(described(engine, echo, "messages.accepted"), accepted);
    CHECK_NUMBER(described(engine, requester, "messages.sent"), 0);

    CHECK_REPLY(engine, user, "set k v", STORAGE_DENIED("write"));
    CHECK_REPLY(engine, user, "get k", STORAGE_DENIED("read"));
    CHECK_REPLY(engine, user, "exists k", STORAGE_DENIED("read"));
    CHECK_REPLY(engine, user, "list", STORAGE_DENIED("read"));
    CHECK_REPLY(engine, user, "usage", STORAGE_DENIED("read"));
    CHECK_REPLY(engine, user, "delete k", STORAGE_DENIED("delete"));
    /* The right is checked before the key. */
    CHECK_REPLY(engine, user, "set-hex 00 v", STORAGE_DENIED("write"));

    /* Functions that reach nothing of the host need no grant. */
    airssys_bytes_t time = {0};
    CHECK_OK(call(engine, chatty, "millis", &time, NULL));
    CHECK(time.len >= 13);
    airssys_bytes_free(&time);
    CHECK_REPLY(engine, chatty, "log debug x", "ok");

    /* The host itself needs no rights. */
    CHECK_REPLY(engine, echo, "x", "x");
    airssys_engine_free(engine);
}

static void denied_by_default(void)
{
    check_denied_all(engine_with(NULL));
    check_denied_all(new_strict_engine());

    /* An empty set grants nothing either, and the set of a load replaces the default. */
    airssys_engine_t *engine = new_engine();
    load(engine, "echo");
    const char *nothing[] = {"{\"capabilities\": {}}", "{\"capabilities\": []}",
                             "{\"capabilities\": [{}, {}]}"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        uint64_t requester = load_as(engine, "test/requester/0", "requester", nothing[i]);
        CHECK_REPLY(engine, requester, "send test/echo/0 x", DENIED("send", "test/echo/0"));
        CHECK_OK(airssys_engine_unload(engine, requester, NULL));
    }
    /* Options without capabilities keep the default. */
    uint64_t requester = load_as(engine, "test/requester/0", "requester", "{\"quotas\": {}}");
    CHECK_REPLY(engine, requester, "send test/echo/0 x", "ok");
    airssys_engine_free(engine);
}

/* A component without a right to an id does not learn whether the id exists. */
static void who_is_there(void)
{
    static const char *const commands[] = {
        "send %s x",      "request %s 1000 x", "broadcast %s x", "metadata %s",
    };
    airssys_engine_t *engine = new_strict_engine();
    char command[64], present[256], missing[256];
    load_as(engine, "app/here/0", "echo", NULL);
    uint64_t requester = load(engine, "requester");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        snprintf(command, sizeof command, commands[i], "app/here/0");
        reply_to(engine, requester, command, present, sizeof present);
        snprintf(command, sizeof command, commands[i], "app/gone/0");
        reply_to(engine, requester, command, missing, sizeof missing);
        CHECK_CONTAINS(missing, "capability denied");
        CHECK_CONTAINS(missing, "app/gone/0");
        /* The same error except for the id, which has the same length. */
        for (char *at; (at = strstr(missing, "gone")) != NULL;)
            memcpy(at, "here", 4);
        CHECK_TEXT(missing, present);
    }

    /* A component with the right is told. */
    CHECK_OK(airssys_engine_grant(engine, requester,
                                  "{\"messaging\": {\"send\": [\"app/*/0\"]}}", NULL));
    CHECK_REPLY(engine, requester, "send app/here/0 x", "ok");
    CHECK_REPLY(engine, requester, "send app/gone/0 x", "error: target-not-found(app/gone/0)");
    CHECK_REPLY(engine, requester, "metadata app/gone/0",
                "error: invalid-state(no component app/gone/0 is loaded)");
    airssys_engine_free(engine);
}

/* Which ids a pattern matches. */
static void patterns(void)
{
    static const char *const ids[] = {"app/log/0", "app/log/1", "app/logger/0", "lib/log/0"};
    static const struct {
        const char *pattern;
        /* The expected result for each id. */
        bool grants[4];
    } cases[] = {
        {"app/log/0", {true, false, false, false}},
        {"app/log/*", {true, true, false, false}},
        {"app/*/0", {true, false, true, false}},
        {"app/log*/0", {true, false, true, false}},
        {"app/log/?", {false, false, false, false}},
        {"app/**", {true, true, true, false}},
        {"**/0", {true, false, true, true}},
        {"**/log/**", {true, true, false, true}},
        {"*/*/*", {true, true, true, true}},
        {"**", {true, true, true, true}},
        {"APP/log/0", {false, false, false, false}},
    };
    airssys_engine_t *engine = new_strict_engine();
    char options[128], command[64], expected[128];
    for (size_t i = 0; i < 4; i++)
        load_as(engine, ids[i], "echo", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(options, sizeof options,
                 "{\"capabilities\": {\"messaging\": {\"send\": [\"%s\"]}}}", cases[i].pattern);
        uint64_t requester = load_as(engine, "test/requester/0", "requester", options);
        /* A second time, when the decision is cached. */
        for (int round = 0; round < 2; round++) {
            for (size_t j = 0; j < 4; j++) {
                snprintf(command, sizeof command, "send %s x", ids[j]);
                snprintf(expected, sizeof expected, DENIED("send", "%s"), ids[j]);
                CHECK_REPLY(engine, requester, command, cases[i].grants[j] ? "ok" : expected);
            }
        }
        /* A grant for one action covers no other. */
        CHECK_REPLY(engine, requester, "request app/log/0 1000 x", DENIED("request", "app/log/0"));
        CHECK_OK(airssys_engine_unload(engine, requester, NULL));
    }
    airssys_engine_free(engine);
}

/* Components see the components that they may send to in any way. */
static void directory(void)
{
    airssys_engine_t *engine = new_strict_engine();
    load_as(engine, "app/a/0", "echo", NULL);
    load_as(engine, "app/b/0", "echo", NULL);
    load_as(engine, "app/c/0", "echo", NULL);
    load_as(engine, "lib/d/0", "echo", NULL);
    uint64_t requester =
        load_as(engine, "test/requester/0", "requester",
                "{\"capabilities\": {\"messaging\": {\"send\": [\"app/a/0\", \"app/gone/0\"], "
                "\"request\": [\"app/b/*\"], \"broadcast\": [\"lib/**\"]}}}");
    CHECK_REPLY(engine, requester, "list", "app/a/0\napp/b/0\nlib/d/0");
    CHECK_REPLY(engine, requester, "metadata app/a/0",
                "{\"health\":\"healthy\",\"id\":\"app/a/0\",\"name\":\"echo\",\"version\":\"0.1.0\"}");
    CHECK_REPLY(engine, requester, "metadata app/c/0",
                "error: invalid-state(capability denied: directory.list app/c/0)");
    /* Not even itself. */
    CHECK_REPLY(engine, requester, "metadata test/requester/0",
                "error: invalid-state(capability denied: directory.list test/requester/0)");
    airssys_engine_free(engine);
}

/* All forms of a grant. */
static void forms(void)
{
    static const char *const forms[] = {
        "{\"messaging\": {\"send\": [\"test/echo/0\"]}, \"storage\": [\"read\"]}",
        "{\"messaging\": [{\"action\": \"send\", \"target-pattern\": \"test/echo/0\"}], "
        "\"storage\": [{\"action\": \"read\"}]}",
        "[{\"messaging\": {\"send\": [\"test/echo/0\"]}}, {\"storage\": [\"read\"]}]",
        "{\"messaging\": {\"send\": [\"test/echo/0\"]}, "
        "\"storage\": [{\"action\": \"read\", \"namespace-pattern\": \"test/*/0\"}]}",
    };
    airssys_engine_t *engine = new_strict_engine();
    char options[512];
    load(engine, "echo");
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        snprintf(options, sizeof options, "{\"capabilities\": %s}", forms[i]);
        uint64_t requester = load_as(engine, "test/requester/0", "requester", options);
        uint64_t user = load_as(engine, "test/storage-user/0", "storage-user", options);
        CHECK_REPLY(engine, requester, "send test/echo/0 x", "ok");
        CHECK_REPLY(engine, user, "list", "");
        CHECK_REPLY(engine, user, "set k v", STORAGE_DENIED("write"));
        CHECK_OK(airssys_engine_unload(engine, requester, NULL));
        CHECK_OK(airssys_engine_unload(engine, user, NULL));
    }
    airssys_engine_free(engine);
}

/* An invalid grant is an error, and nothing is loaded. */
static void invalid(void)
{
    static const struct {
        const char *capabilities, *part;
    } cases[] = {
        {"{\"mesaging\": {}}", "unknown key \"mesaging\", did you mean \"messaging\"?"},
        {"{\"messaging\": {\"snd\": []}}", "options.capabilities.messaging: unknown key \"snd\""},
        {"{\"messaging\": {\"send\": [\"app\"]}}", "options.capabilities.messaging.send[0]: \"app\""},
        {"{\"messaging\": {\"send\": [1]}}", "options.capabilities.messaging.send[0]"},
        {"{\"messaging\": [{\"action\": \"send\"}]}", "target-pattern"},
        {"{\"storage\": [\"write\", \"reed\"]}", "options.capabilities.storage[1]: \"reed\""},
        {"{\"filesystem\": {\"/no/such/path\": [\"read\"]}}", "/no/such/path"},
        {"{\"network\": {\"outbound\": [\"a b\"]}}", "options.capabilities.network.outbound[0]"},
        {"{\"expires-in-ms\": 1, \"expires-at-ms\": 1}", "exclude each other"},
        {"{\"expires-in-ms\": -1}", "expires-in-ms"},
        {"[{}, {\"storage\": [\"reed\"]}]", "options.capabilities[1].storage[0]"},
        {"\"all\"", "options.capabilities"},
    };
    airssys_engine_t *engine = new_strict_engine();
    char path[4096], options[256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t handle = 4711;
        airssys_error_t *error = NULL;
        snprintf(options, sizeof options, "{\"capabilities\": %s}", cases[i].capabilities);
        CHECK_STATUS(airssys_engine_load_file(engine, "test/echo/0",
                                              guest_path("echo", path, sizeof path), options,
                                              &handle, &error),
                     AIRSSYS_ERROR_INVALID_OPTIONS);
        CHECK_CONTAINS(airssys_error_message(error), cases[i].part);
        CHECK_CONTAINS(airssys_error_detail_json(error), "\"place\":\"options.capabilities");
        CHECK_NUMBER(handle, 4711);
        airssys_error_free(error);
    }
    CHECK_NUMBER(counted(engine, "components"), 0);
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    denied_by_default();
    who_is_there();
    patterns();
    directory();
    forms();
    invalid();
    return check_done();
}
