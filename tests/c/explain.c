/* `airssys_engine_explain`: whether a component may do something, and why. */
#include "audit_list.h"

/* Compares the whole document. Its members are sorted by name. */
static void check_explained(airssys_engine_t *engine, uint64_t handle, const char *action,
                            const char *resource, bool allowed, const char *by, const char *rule,
                            const char *until, const char *file, int line)
{
    char expected[512];
    airssys_bytes_t json = {0};
    airssys_error_t *error = NULL;
    snprintf(expected, sizeof expected,
             "{\"action\":\"%s\",\"allowed\":%s,\"by\":\"%s\",\"component\":\"test/requester/0\","
             "\"resource\":\"%s\",\"rule\":\"%s\",\"until-ms\":%s}",
             action, allowed ? "true" : "false", by, resource, rule, until);
    check_status(airssys_engine_explain(engine, handle, action, resource, &json, &error), AIRSSYS_OK,
                 file, line, action);
    check_text((const char *)json.data, expected, file, line, action);
    check_number((long long)json.len, (long long)strlen(expected), file, line, "the length");
    airssys_error_free(error);
    airssys_bytes_free(&json);
}

#define CHECK_EXPLAINED(action, resource, allowed, by, rule, until)                               \
    check_explained(engine, requester, action, resource, allowed, by, rule, until, __FILE__, \
                    __LINE__)

static const char options[] =
    "{\"capabilities\": [{\"messaging\": {\"send\": [\"app/db/*\"]}}, "
    "{\"messaging\": {\"request\": [\"app/**\"]}, \"expires-at-ms\": 9999999999999}, "
    "{\"messaging\": {\"request\": [\"lib/**\"]}, \"expires-at-ms\": 1}, "
    "{\"storage\": [\"read\"], \"network\": {\"outbound\": [\"api.example.com:443\", \"10.0.0.0/8\"]}}]}";

static void by_what(void)
{
    struct audit_list list = AUDIT_LIST;
    airssys_engine_t *engine = engine_recording(&list, 1);
    uint64_t requester = load_as(engine, "test/requester/0", "requester", options);

    CHECK_EXPLAINED("messaging.send", "app/db/0", true, "grant", "grant app/db/*", "null");
    CHECK_EXPLAINED("messaging.send", "app/web/0", false, "not-granted", "no grant", "null");
    CHECK_EXPLAINED("messaging.request", "app/web/0", true, "grant", "grant app/**", "9999999999999");
    /* Expired. */
    CHECK_EXPLAINED("messaging.request", "lib/web/0", false, "not-granted", "no grant", "null");
    CHECK_EXPLAINED("messaging.broadcast", "app/db/0", false, "not-granted", "no grant", "null");
    CHECK_EXPLAINED("directory.list", "app/db/0", true, "grant", "grant app/db/*", "null");
    CHECK_EXPLAINED("directory.list", "test/requester/0", false, "not-granted", "no grant", "null");
    CHECK_EXPLAINED("storage.read", "test/requester/0", true, "grant", "grant own namespace", "null");
    CHECK_EXPLAINED("storage.read", "", true, "grant", "grant own namespace", "null");
    CHECK_EXPLAINED("storage.read", "test/other/0", false, "not-granted", "no grant", "null");
    CHECK_EXPLAINED("storage.write", "", false, "not-granted", "no grant", "null");
    CHECK_EXPLAINED("network.outbound", "api.example.com:443", true, "grant",
                    "grant api.example.com:443", "null");
    CHECK_EXPLAINED("network.outbound", "api.example.com:80", false, "not-granted", "no grant", "null");
    CHECK_EXPLAINED("network.outbound", "10.1.2.3:80", true, "grant", "grant 10.0.0.0/8", "null");
    CHECK_EXPLAINED("network.inbound", "10.1.2.3:80", false, "not-granted", "no grant", "null");
    CHECK_EXPLAINED("filesystem.read", "/etc/passwd", false, "not-granted", "no grant", "null");
    static const char *const open[] = {"environment.read", "random.read", "clock.read", "log.write"};
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        CHECK_EXPLAINED(open[i], "", true, "ambient", "open to every component", "null");
    CHECK_EXPLAINED("messaging.cancel", "0000000000000001", true, "ambient",
                    "open to every component", "null");

    CHECK_OK(airssys_engine_set_policies(
        engine,
        "{\"rules\": [{\"effect\": \"allow\", \"resource\": \"app/db/0\"}, "
        "{\"effect\": \"deny\", \"action\": \"messaging.*\", \"reason\": \"not \\\"now\\\"\"}, "
        "{\"effect\": \"deny\", \"action\": \"clock.read\"}]}",
        NULL));
    /* An allow rule does not replace the grant. */
    CHECK_EXPLAINED("messaging.send", "app/db/0", true, "grant", "grant app/db/*", "null");
    CHECK_EXPLAINED("messaging.broadcast", "app/db/0", false, "not-granted", "no grant", "null");
    CHECK_EXPLAINED("messaging.send", "app/db/1", false, "policy",
                    "policy rules[1] deny: not \\\"now\\\"", "null");
    CHECK_EXPLAINED("clock.read", "", false, "policy", "policy rules[2] deny", "null");

    /* The explanation matches the decision, and only the decision is recorded. */
    CHECK_REPLY(engine, requester, "send app/db/1 x",
                "error: delivery-failed(capability denied: messaging.send app/db/1)");
    CHECK_RECORDED(&list, 0, DENIED,
                   "test/requester/0 messaging.send app/db/1: policy: "
                   "policy rules[1] deny: not \"now\"");
    airssys_engine_free(engine);
    CHECK_NUMBER(list.count, 1);
}

/* A used-up quota is not part of an explanation. */
static void without_quotas(void)
{
    airssys_engine_t *engine = new_strict_engine();
    load(engine, "trapper");
    uint64_t requester = load_as(engine, "test/requester/0", "requester",
                                 "{\"capabilities\": {\"messaging\": {\"request\": [\"test/**\"]}}, "
                                 "\"quotas\": {\"outstanding-requests\": 1}}");
    airssys_bytes_t id = {0};
    CHECK_OK(call(engine, requester, "request test/trapper/0 60000 sleep 5000", &id, NULL));
    airssys_bytes_free(&id);
    CHECK_REPLY(engine, requester, "request test/trapper/0 60000 ok",
                "error: delivery-failed(quota exceeded: outstanding-requests 1)");
    CHECK_EXPLAINED("messaging.request", "test/trapper/0", true, "grant", "grant test/**", "null");
    airssys_engine_free(engine);
}

static void wrong(void)
{
    static const char *const actions[] = {"", "messaging", "messaging.*", "*", "messaging.sent", "Clock.read"};
    airssys_engine_t *engine = new_strict_engine();
    uint64_t requester = load(engine, "requester");
    airssys_bytes_t json = {0};
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        airssys_error_t *error = NULL;
        CHECK_STATUS(airssys_engine_explain(engine, requester, actions[i], "a/b/c", &json, &error),
                     AIRSSYS_ERROR_INVALID_OPTIONS);
        CHECK_CONTAINS(airssys_error_message(error), "action: ");
        /* All actions. */
        CHECK_CONTAINS(airssys_error_message(error), "\"filesystem.list-dir\"");
        airssys_error_free(error);
    }
    CHECK_STATUS(airssys_engine_explain(engine, 0, "messaging.send", "a/b/c", &json, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_OK(airssys_engine_unload(engine, requester, NULL));
    CHECK_STATUS(airssys_engine_explain(engine, requester, "messaging.send", "a/b/c", &json, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    CHECK_STATUS(airssys_engine_explain(engine, requester, "messaging.send", "a/b/c", &json, NULL),
                 AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK(json.data == NULL);
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    by_what();
    without_quotas();
    wrong();
    return check_done();
}
