/* Audit: which decisions are recorded, with what text, in what order, and what a slow host misses. */
#include "audit_list.h"

/* A denial of each kind, with its text. */
static void denials(void)
{
    struct audit_list list = AUDIT_LIST;
    airssys_engine_t *engine = engine_recording(&list, 0);
    load(engine, "echo");
    uint64_t requester = load(engine, "requester"), user = load(engine, "storage-user");
    uint64_t chatty = load(engine, "chatty");
    airssys_bytes_t reply = {0};
    static const char *const asked[] = {
        "send test/echo/0 x", "request test/gone/0 1000 x", "broadcast test/echo/0,test/requester/0 x",
        "metadata test/echo/0", "cancel 0123456789abcdef",
    };
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        CHECK_OK(call(engine, requester, asked[i], &reply, NULL));
        airssys_bytes_free(&reply);
    }
    static const char *const stored[] = {"set k v", "get k", "delete k", "exists k", "usage"};
    for (size_t i = 0; i < sizeof stored / sizeof *stored; i++) {
        CHECK_OK(call(engine, user, stored[i], &reply, NULL));
        airssys_bytes_free(&reply);
    }
    CHECK_OK(airssys_engine_set_policies(
        engine,
        "{\"rules\": [{\"effect\": \"allow\", \"component\": \"other/**\"}, "
        "{\"effect\": \"deny\", \"action\": \"clock.read\", \"reason\": \"no hurry\"}, "
        "{\"effect\": \"deny\", \"action\": \"messaging.*\"}]}",
        NULL));
    CHECK_FAILS(engine, chatty, "time", AIRSSYS_ERROR_TRAP, "capability denied: clock.read");
    CHECK_OK(call(engine, requester, asked[0], &reply, NULL));
    airssys_bytes_free(&reply);
    airssys_engine_free(engine);

    static const char *const expected[] = {
        "test/requester/0 messaging.send test/echo/0: not-granted: no grant",
        "test/requester/0 messaging.request test/gone/0: not-granted: no grant",
        "test/requester/0 messaging.broadcast test/echo/0: not-granted: no grant",
        "test/requester/0 messaging.broadcast test/requester/0: not-granted: no grant",
        "test/requester/0 directory.list test/echo/0: not-granted: no grant",
        "test/requester/0 messaging.cancel 0123456789abcdef: never: no request of its own",
        "test/storage-user/0 storage.write test/storage-user/0: not-granted: no grant",
        "test/storage-user/0 storage.read test/storage-user/0: not-granted: no grant",
        "test/storage-user/0 storage.delete test/storage-user/0: not-granted: no grant",
        "test/storage-user/0 storage.read test/storage-user/0: not-granted: no grant",
        "test/storage-user/0 storage.read test/storage-user/0: not-granted: no grant",
        "test/chatty/0 clock.read : policy: policy rules[1] deny: no hurry",
        "test/requester/0 messaging.send test/echo/0: policy: policy rules[2] deny",
    };
    enum { EXPECTED = sizeof expected / sizeof *expected };
    for (size_t i = 0; i < EXPECTED; i++)
        CHECK_RECORDED(&list, i, DENIED, expected[i]);
    /* All records arrive before the engine is freed, in order, one at a time. */
    CHECK_NUMBER(list.count, EXPECTED);
    CHECK_NUMBER(list.most_inside, 1);
    CHECK_NUMBER(list.drops, 1);
}

/* Every permission, with its text. */
static void allowed(void)
{
    struct audit_list list = AUDIT_LIST;
    airssys_engine_t *engine = engine_recording(&list, 1);
    load(engine, "echo");
    uint64_t requester = load_as(engine, "test/requester/0", "requester",
                                 "{\"capabilities\": {\"messaging\": {\"send\": [\"test/*/0\"], "
                                 "\"broadcast\": [\"test/echo/0\"]}}}");
    uint64_t user = load_as(engine, "test/storage-user/0", "storage-user",
                            "{\"capabilities\": {\"storage\": [\"read\", \"write\"]}}");
    uint64_t chatty = load(engine, "chatty");
    airssys_bytes_t reply = {0};
    /* Also decisions that are cached from before. */
    CHECK_REPLY(engine, requester, "send test/echo/0 x", "ok");
    CHECK_REPLY(engine, requester, "send test/echo/0 x", "ok");
    /* The send was allowed, even though it failed. */
    CHECK_REPLY(engine, requester, "send test/gone/0 x", "error: target-not-found(test/gone/0)");
    CHECK_REPLY(engine, requester, "broadcast test/echo/0 x", "ok");
    CHECK_REPLY(engine, user, "set k v", "ok");
    CHECK_REPLY(engine, user, "get k", "v");
    CHECK_OK(call(engine, chatty, "millis", &reply, NULL));
    airssys_bytes_free(&reply);
    /* Actions of the host are not decisions about a component. */
    CHECK_OK(send_text(engine, chatty, "sleep 0"));
    airssys_engine_free(engine);

    static const char *const expected[] = {
        "test/requester/0 messaging.send test/echo/0: grant: grant test/*/0",
        "test/requester/0 messaging.send test/echo/0: grant: grant test/*/0",
        "test/requester/0 messaging.send test/gone/0: grant: grant test/*/0",
        "test/requester/0 messaging.broadcast test/echo/0: grant: grant test/echo/0",
        "test/storage-user/0 storage.write test/storage-user/0: grant: grant own namespace",
        "test/storage-user/0 storage.read test/storage-user/0: grant: grant own namespace",
        "test/chatty/0 clock.read : ambient: open to every component",
    };
    enum { EXPECTED = sizeof expected / sizeof *expected };
    for (size_t i = 0; i < EXPECTED; i++)
        CHECK_RECORDED(&list, i, ALLOWED, expected[i]);
    CHECK_NUMBER(list.count, EXPECTED);
}

/* Samples permissions; records every denial. */
static void samples(void)
{
    static const struct {
        uint32_t sample;
        unsigned recorded;
    } cases[] = {{0, 0}, {1, 9}, {2, 5}, {4, 3}, {100, 1}, {UINT32_MAX, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct audit_list list = AUDIT_LIST;
        airssys_engine_t *engine = engine_recording(&list, cases[i].sample);
        load(engine, "echo");
        uint64_t hostile = load_as(engine, "test/hostile/0", "hostile",
                                   "{\"capabilities\": {\"messaging\": {\"send\": [\"test/echo/0\"]}}}");
        CHECK_REPLY(engine, hostile, "send-many 9 test/echo/0 x", "9");
        CHECK_REPLY(engine, hostile, "send-many 9 test/gone/0 x",
                    "0 error: delivery-failed(capability denied: messaging.send test/gone/0)");
        airssys_engine_free(engine);
        CHECK_NUMBER(list.allowed, cases[i].recorded);
        CHECK_NUMBER(list.denied, 9);
        CHECK_NUMBER(list.lost, 0);
    }
}

/* The share of the 16,384 queued records that one component may have: denials, and permissions. */
enum { DENYING = 16384 / 4, ALLOWING = 16384 / 8 };

/* Blocks the callback with one record, so that others are lost. */
static void of_a_slow_host(void)
{
    struct audit_list list = AUDIT_LIST;
    airssys_engine_t *engine = engine_recording(&list, 1);
    load_as(engine, "test/echo/0", "echo", "{\"mailbox\": {\"capacity\": 100000}}");
    uint64_t hostile = load_as(engine, "test/hostile/0", "hostile",
                               "{\"capabilities\": {\"messaging\": {\"send\": [\"test/echo/0\"]}}}");
    char command[64];
    list.held = true;
    CHECK_REPLY(engine, hostile, "send-many 1 test/echo/0 x", "1");
    wait_for_records(&list, 1);

    /* Nobody waits for the host, and one component leaves most of the queue to others. */
    snprintf(command, sizeof command, "send-many %d test/echo/0 x", ALLOWING + 3);
    CHECK_REPLY(engine, hostile, command, "2051");
    snprintf(command, sizeof command, "send-many %d test/gone/0 x", DENYING + 5);
    CHECK_REPLY(engine, hostile, command,
                "0 error: delivery-failed(capability denied: messaging.send test/gone/0)");
    CHECK_NUMBER(list.count, 1);
    hold_records(&list, false);
    wait_for_records(&list, 1 + ALLOWING + DENYING + 1);
    CHECK_NUMBER(list.allowed, 1 + ALLOWING);
    CHECK_NUMBER(list.denied, DENYING);
    CHECK_NUMBER(list.lost, 1);
    CHECK_NUMBER(list.lost_allowed, 3);
    CHECK_NUMBER(list.lost_denied, 5);

    /* Later decisions are recorded as before. */
    CHECK_REPLY(engine, hostile, "send-many 1 test/echo/0 x", "1");
    wait_for_records(&list, 1 + ALLOWING + DENYING + 2);
    airssys_engine_free(engine);
    CHECK_NUMBER(list.count, 1 + ALLOWING + DENYING + 2);
    CHECK_NUMBER(list.lost, 1);
    CHECK_NUMBER(list.most_inside, 1);
}

/* A long name is cut between characters. */
static void long_names(void)
{
    struct audit_list list = AUDIT_LIST;
    airssys_engine_t *engine = engine_recording(&list, 0);
    uint64_t hostile = load(engine, "hostile");
    char *command = malloc(20000), *at = command;
    REQUIRE(command != NULL);
    at += sprintf(at, "raw-cancel 61");
    /* An umlaut has two bytes, and byte 4,096 is in the middle of one. */
    for (int i = 0; i < 4000; i++)
        at += sprintf(at, "c3bc");
    airssys_bytes_t reply = {0};
    CHECK_OK(call(engine, hostile, command, &reply, NULL));
    airssys_bytes_free(&reply);
    free(command);
    /* A NUL does not end the name. */
    CHECK_OK(call(engine, hostile, "raw-cancel 610062", &reply, NULL));
    airssys_bytes_free(&reply);
    CHECK_RECORDED(&list, 1, DENIED,
                   "test/hostile/0 messaging.cancel a\\0b: never: no request of its own");
    airssys_engine_free(engine);
}

struct caller {
    struct audit_list list;
    airssys_engine_t *engine;
    uint64_t echo, requester;
};

/* Any function except shutdown. */
static void call_in_record(void *user_data, const airssys_audit_record_t *record)
{
    struct caller *caller = user_data;
    airssys_bytes_t json = {0};
    CHECK_REPLY(caller->engine, caller->echo, "from a record", "from a record");
    CHECK_OK(airssys_engine_explain(caller->engine, caller->requester, record->action,
                                    record->resource, &json, NULL));
    CHECK_CONTAINS((const char *)json.data, "\"allowed\":false");
    airssys_bytes_free(&json);
    /* The callback grants what was denied. */
    CHECK_OK(airssys_engine_grant(caller->engine, caller->requester,
                                  "{\"messaging\": {\"send\": [\"test/echo/0\"]}}", NULL));
    audit_list_take(&caller->list, record);
}

static void from_the_callback(void)
{
    struct caller caller = {.list = AUDIT_LIST};
    airssys_config_t *config = new_strict_config();
    airssys_audit_t audit = {0};
    audit.size = sizeof audit;
    audit.user_data = &caller;
    audit.record = call_in_record;
    REQUIRE(airssys_config_set_audit(config, &audit, NULL) == AIRSSYS_OK);
    memset(&audit, 0xff, sizeof audit); /* The library has copied it. */
    airssys_engine_t *engine = caller.engine = silent_engine(config);
    caller.echo = load(engine, "echo");
    caller.requester = load(engine, "requester");
    CHECK_REPLY(engine, caller.requester, "send test/echo/0 x",
                "error: delivery-failed(capability denied: messaging.send test/echo/0)");
    wait_for_records(&caller.list, 1);
    CHECK_REPLY(engine, caller.requester, "send test/echo/0 x", "ok");
    airssys_engine_free(engine);
    CHECK_NUMBER(caller.list.count, 1);
}

/* Frees its own engine at the first record. */
static void free_in_record(void *user_data, const airssys_audit_record_t *record)
{
    struct caller *caller = user_data;
    audit_list_take(&caller->list, record);
    if (caller->list.count == 1)
        airssys_engine_free(caller->engine);
}

static void drop_caller(void *user_data)
{
    struct caller *caller = user_data;
    audit_list_drop(&caller->list);
}

static void of_a_host_that_frees(void)
{
    struct caller caller = {.list = AUDIT_LIST};
    airssys_config_t *config = new_strict_config();
    airssys_audit_t audit = {0};
    audit.size = sizeof audit;
    audit.user_data = &caller;
    audit.drop = drop_caller;
    audit.record = free_in_record;
    REQUIRE(airssys_config_set_audit(config, &audit, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = caller.engine = silent_engine(config);
    caller.requester = load(engine, "requester");
    CHECK_OK(send_text(engine, caller.requester, "send test/echo/0 x"));
    wait_for_records(&caller.list, SIZE_MAX);
    CHECK_NUMBER(caller.list.drops, 1);
}

static void of_whom(void)
{
    struct audit_list list = AUDIT_LIST, other = AUDIT_LIST;
    airssys_config_t *config = new_strict_config();
    airssys_audit_t audit = audit_to(&list, 0);
    CHECK_OK(airssys_config_set_audit(config, &audit, NULL));
    /* Refused: the host still owns its data, and the previous callback stays set. */
    audit = audit_to(&other, 0);
    audit.size = 3;
    CHECK_STATUS(airssys_config_set_audit(config, &audit, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_NUMBER(list.drops, 0);
    CHECK_NUMBER(other.drops, 0);

    /* Replaced: engines created before keep the old one, which is dropped with the last of them. */
    airssys_engine_t *before[2] = {engine_with(config), engine_with(config)};
    audit = audit_to(&other, 0);
    CHECK_OK(airssys_config_set_audit(config, &audit, NULL));
    airssys_engine_t *after = engine_with(config);
    airssys_config_free(config);
    uint64_t requester = load(before[0], "requester");
    CHECK_REPLY(before[0], requester, "send a/b/c x",
                "error: delivery-failed(capability denied: messaging.send a/b/c)");
    requester = load(after, "requester");
    CHECK_REPLY(after, requester, "send d/e/f x",
                "error: delivery-failed(capability denied: messaging.send d/e/f)");
    airssys_engine_free(before[0]);
    CHECK_NUMBER(list.drops, 0);
    airssys_engine_free(before[1]);
    CHECK_NUMBER(list.drops, 1);
    CHECK_NUMBER(other.drops, 0);
    airssys_engine_free(after);
    CHECK_NUMBER(other.drops, 1);
    CHECK_RECORDED(&list, 0, DENIED, "test/requester/0 messaging.send a/b/c: not-granted: no grant");
    CHECK_RECORDED(&other, 0, DENIED, "test/requester/0 messaging.send d/e/f: not-granted: no grant");
    CHECK_NUMBER(list.count + other.count, 2);

    /* Replaced without use. */
    config = new_strict_config();
    audit = audit_to(&list, 0);
    CHECK_OK(airssys_config_set_audit(config, &audit, NULL));
    audit.drop = NULL;
    CHECK_OK(airssys_config_set_audit(config, &audit, NULL));
    CHECK_NUMBER(list.drops, 2);
    airssys_config_free(config);
    CHECK_NUMBER(list.drops, 2);
}

/* Structs of hosts that were compiled with another header. */
static void sizes(void)
{
    struct audit_list list = AUDIT_LIST;
    struct {
        airssys_audit_t audit;
        void *unheard_of;
    } newer;
    airssys_config_t *config = new_strict_config();
    airssys_audit_t audit = audit_to(&list, 1);
    size_t wrong[] = {0, 3, sizeof audit - 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        audit.size = wrong[i];
        REFUSES("audit", airssys_config_set_audit(config, &audit, &error));
    }
    memset(&newer, 0, sizeof newer);
    newer.audit = audit_to(&list, 1);
    newer.audit.size = sizeof newer;
    newer.unheard_of = &newer;
    REFUSES("audit", airssys_config_set_audit(config, &newer.audit, &error));
    CHECK_NUMBER(list.drops, 0);
    newer.unheard_of = NULL;
    CHECK_OK(airssys_config_set_audit(config, &newer.audit, NULL));
    airssys_config_free(config);
    CHECK_NUMBER(list.drops, 1);
}

int main(void)
{
    check_begin();
    denials();
    allowed();
    samples();
    of_a_slow_host();
    long_names();
    from_the_callback();
    of_a_host_that_frees();
    of_whom();
    sizes();
    return check_done();
}
