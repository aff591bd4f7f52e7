/* Replacements of running components by other versions, and rollbacks. */
#include "holding_log.h"
#include "trail.h"

/* A binary, freed by the caller. */
struct binary {
    uint8_t *data;
    size_t len;
};

static struct binary read_guest(const char *guest)
{
    char path[4096];
    struct binary binary = {0};
    FILE *file = fopen(guest_path(guest, path, sizeof path), "rb");
    REQUIRE(file != NULL && fseek(file, 0, SEEK_END) == 0);
    binary.len = (size_t)ftell(file);
    binary.data = malloc(binary.len);
    rewind(file);
    REQUIRE(binary.data != NULL && fread(binary.data, 1, binary.len, file) == binary.len);
    fclose(file);
    return binary;
}

static airssys_status_t replace_by(airssys_engine_t *engine, uint64_t handle, const char *guest,
                                   const char *options, airssys_error_t **error)
{
    char path[4096];
    return airssys_engine_replace_file(engine, handle, guest_path(guest, path, sizeof path), options,
                                       error);
}

/* The version in the documents of `status` and `describe`. */
static void check_version(airssys_engine_t *engine, uint64_t handle, long long version,
                          const char *file, int line)
{
    airssys_bytes_t json = {0};
    char part[32];
    check_number(in_status(engine, handle, "version"), version, file, line, "version in status");
    REQUIRE(airssys_engine_describe(engine, handle, &json, NULL) == AIRSSYS_OK);
    /* That of the metadata is a text. */
    snprintf(part, sizeof part, "\"version\":%lld", version);
    check_contains((const char *)json.data, part, file, line, "version in describe");
    airssys_bytes_free(&json);
}

#define CHECK_VERSION(engine, handle, version) \
    check_version((engine), (handle), (version), __FILE__, __LINE__)

/* The new version takes over; everything else stays. */
static void taking_over(void)
{
    struct trail trail = TRAIL;
    airssys_engine_t *engine = engine_telling(&trail);
    uint64_t it = load_as(engine, "test/it/0", "storage-user",
                          "{\"mailbox\": {\"capacity\": 7}, \"quotas\": {\"storage-keys\": 9}}");
    uint64_t found = 0;
    CHECK_REPLY(engine, it, "set key value", "ok");
    CHECK_VERSION(engine, it, 1);

    CHECK_OK(replace_by(engine, it, "counter", NULL, NULL));
    CHECK_REPLY(engine, it, "inc", "1");
    CHECK_REPLY(engine, it, "inc", "2");
    CHECK_VERSION(engine, it, 2);
    CHECK_OK(airssys_engine_find(engine, "test/it/0", &found, NULL));
    CHECK_NUMBER(found, it);
    CHECK_NUMBER(described(engine, it, "mailbox.capacity"), 7);
    CHECK_NUMBER(described(engine, it, "quotas.storage-keys"), 9);
    CHECK_NUMBER(described(engine, it, "messages.handled"), 3);
    CHECK_NUMBER(described(engine, it, "restarts"), 0);

    /* The bytes are borrowed for the call only. */
    struct binary binary = read_guest("storage-user");
    CHECK_OK(airssys_engine_replace(engine, it, binary.data, binary.len, "{}", NULL));
    memset(binary.data, 0, binary.len);
    free(binary.data);
    CHECK_REPLY(engine, it, "get key", "value");
    CHECK_OK(airssys_engine_restart(engine, it, UINT64_MAX, NULL));
    CHECK_REPLY(engine, it, "get key", "value");
    CHECK_VERSION(engine, it, 3);

    CHECK_OK(airssys_engine_unload(engine, it, NULL));
    wait_for_changes(&trail, 9);
    CHECK_TEXT(trail.text, "running(loaded) replacing(replace) running(replaced) "
                           "replacing(replace) running(replaced) "
                           "restarting(restart) running(restarted) "
                           "unloading(close) unloaded(end)");
    uint64_t nobody[] = {it, 0, AIRSSYS_ALL_COMPONENTS};
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(airssys_engine_replace(engine, nobody[i], NULL, 0, NULL, NULL),
                     AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
        CHECK_STATUS(replace_by(engine, nobody[i], "echo", NULL, NULL),
                     AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
        CHECK_STATUS(airssys_engine_rollback(engine, nobody[i], NULL),
                     AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    }
    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    CHECK_STATUS(airssys_engine_replace(engine, it, NULL, 0, NULL, NULL),
                 AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK_STATUS(airssys_engine_rollback(engine, it, NULL), AIRSSYS_ERROR_ENGINE_STOPPED);
    airssys_engine_free(engine);
}

/* Expects parts of what the guest `probe` shows of its configuration. */
static void check_configured(airssys_engine_t *engine, uint64_t probe, const char *env,
                             const char *config, const char *file, int line)
{
    airssys_bytes_t reply = {0};
    char text[1024], part[128];
    REQUIRE(call(engine, probe, "config", &reply, NULL) == AIRSSYS_OK && reply.data != NULL);
    snprintf(text, sizeof text, "%.*s", (int)reply.len, (const char *)reply.data);
    airssys_bytes_free(&reply);
    snprintf(part, sizeof part, "\"env\":%s", env);
    check_contains(text, part, file, line, "environment");
    snprintf(part, sizeof part, "\"config\":%s,", config);
    check_contains(text, part, file, line, "configuration");
}

#define CHECK_CONFIGURED(engine, probe, env, config) \
    check_configured((engine), (probe), (env), (config), __FILE__, __LINE__)

/* What the options do not name stays. */
static void configuration(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t it = load_as(engine, "test/it/0", "probe",
                          "{\"env\": {\"A\": \"1\"}, \"config\": \"first\"}");
    CHECK_CONFIGURED(engine, it, "{\"A\":\"1\"}", "\"first\"");
    CHECK_OK(airssys_engine_replace(engine, it, NULL, 0, NULL, NULL));
    CHECK_CONFIGURED(engine, it, "{\"A\":\"1\"}", "\"first\"");
    CHECK_OK(airssys_engine_replace(engine, it, NULL, 0, "{\"env\": {\"B\": \"2\"}}", NULL));
    CHECK_CONFIGURED(engine, it, "{\"B\":\"2\"}", "\"first\"");
    CHECK_OK(replace_by(engine, it, "probe", "{\"env\": null, \"config\": [1]}", NULL));
    CHECK_CONFIGURED(engine, it, "{\"B\":\"2\"}", "\"[1]\"");
    CHECK_OK(airssys_engine_replace(engine, it, NULL, 0, "{\"config\": null}", NULL));
    CHECK_CONFIGURED(engine, it, "{\"B\":\"2\"}", "null");
    CHECK_OK(airssys_engine_rollback(engine, it, NULL));
    CHECK_CONFIGURED(engine, it, "{\"B\":\"2\"}", "\"[1]\"");
    airssys_engine_free(engine);
}

/* Expects that a replacement fails and that the counter, which has counted to `count`, goes on. */
static void check_refused(airssys_engine_t *engine, uint64_t it, airssys_status_t came,
                          airssys_status_t status, airssys_error_t *error, const char *part,
                          int *count, const char *file, int line)
{
    char expected[16];
    check_status(came, status, file, line, part);
    check_contains(airssys_error_message(error), "test/it/0 keeps version 1", file, line, part);
    check_contains(airssys_error_message(error), part, file, line, part);
    check_contains(airssys_error_detail_json(error), "\"version\":1", file, line, part);
    check_contains(airssys_error_detail_json(error), "\"component\":\"test/it/0\"", file, line, part);
    airssys_error_free(error);
    snprintf(expected, sizeof expected, "%d", ++*count);
    check_reply(engine, it, "inc", expected, file, line);
    check_version(engine, it, 1, file, line);
}

/* `call` passes `&error`. */
#define CHECK_REFUSED(call, status, part)                                                      \
    do {                                                                                       \
        airssys_error_t *error = NULL;                                                         \
        airssys_status_t came = (call);                                                        \
        check_refused(engine, it, came, (status), error, (part), &count, __FILE__, __LINE__);  \
    } while (0)

static void failures(void)
{
    static const uint8_t garbage[] = "garbage", core_module[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    struct trail trail = TRAIL;
    airssys_engine_t *engine = engine_telling(&trail);
    uint64_t it = load_as(engine, "test/it/0", "counter", NULL);
    struct binary binary = read_guest("probe");
    int count = 0;
    CHECK_REFUSED(airssys_engine_replace(engine, it, garbage, sizeof garbage, NULL, &error),
                  AIRSSYS_ERROR_INVALID_COMPONENT, "header of a WebAssembly component");
    CHECK_REFUSED(airssys_engine_replace(engine, it, binary.data, binary.len / 2, NULL, &error),
                  AIRSSYS_ERROR_INVALID_COMPONENT, "unexpected end");
    /* Only (NULL, 0) keeps the binary. */
    CHECK_REFUSED(airssys_engine_replace(engine, it, garbage, 0, NULL, &error),
                  AIRSSYS_ERROR_INVALID_COMPONENT, "it is empty");
    CHECK_REFUSED(airssys_engine_replace(engine, it, core_module, sizeof core_module, NULL, &error),
                  AIRSSYS_ERROR_INVALID_COMPONENT, "it is a core module");
    CHECK_REFUSED(replace_by(engine, it, "minimal", NULL, &error), AIRSSYS_ERROR_INVALID_COMPONENT,
                  "the old version exports component-lifecycle");
    CHECK_REFUSED(replace_by(engine, it, "probe", "{\"env\": {\"REFUSE\": \"because\"}}", &error),
                  AIRSSYS_ERROR_INITIALIZATION_FAILED, "because");
    CHECK_REFUSED(replace_by(engine, it, "probe", "{\"env\": {\"TRAP_INIT\": \"1\"}}", &error),
                  AIRSSYS_ERROR_TRAP, "initialize");
    CHECK_REFUSED(replace_by(engine, it, "probe",
                             "{\"env\": {\"HEALTH\": \"degraded\"}, \"health-gate-ms\": 20}", &error),
                  AIRSSYS_ERROR_TIMEOUT, "degraded and not healthy within health-gate-ms 20");
    free(binary.data);

    airssys_error_t *error = NULL;
    CHECK_STATUS(replace_by(engine, it, "no-such-guest", NULL, &error), AIRSSYS_ERROR_IO);
    CHECK_CONTAINS(airssys_error_message(error), "no-such-guest.wasm");
    airssys_error_free(error);
    error = NULL;
    CHECK_STATUS(airssys_engine_replace(engine, it, NULL, 0, "{\"health-gate\": 1}", &error),
                 AIRSSYS_ERROR_INVALID_OPTIONS);
    CHECK_CONTAINS(airssys_error_message(error), "health-gate-ms");
    airssys_error_free(error);
    CHECK_STATUS(airssys_engine_replace(engine, it, NULL, 0, "", NULL),
                 AIRSSYS_ERROR_INVALID_OPTIONS);
    CHECK_STATUS(airssys_engine_rollback(engine, it, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);

    /* Nothing has changed until now. */
    CHECK_OK(replace_by(engine, it, "probe", "{\"health-gate-ms\": 0}", NULL));
    CHECK_IN_STATUS(engine, it, "\"health\":\"healthy\"");
    wait_for_changes(&trail, 3);
    CHECK_TEXT(trail.text, "running(loaded) replacing(replace) running(replaced)");
    airssys_engine_free(engine);
}

/* A rollback forgets the version that it leaves. */
static void rollbacks(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t it = load_as(engine, "test/it/0", "counter", "{\"kept-versions\": 2}");
    CHECK_OK(replace_by(engine, it, "echo", NULL, NULL));
    CHECK_OK(replace_by(engine, it, "probe", NULL, NULL));
    CHECK_OK(airssys_engine_rollback(engine, it, NULL));
    CHECK_VERSION(engine, it, 2);
    CHECK_REPLY(engine, it, "hello", "hello");
    /* A replacement that fails changes nothing of that. */
    CHECK_STATUS(airssys_engine_replace(engine, it, (const uint8_t *)"x", 1, NULL, NULL),
                 AIRSSYS_ERROR_INVALID_COMPONENT);
    CHECK_STATUS(replace_by(engine, it, "probe", "{\"env\": {\"REFUSE\": \"because\"}}", NULL),
                 AIRSSYS_ERROR_INITIALIZATION_FAILED);
    CHECK_OK(airssys_engine_rollback(engine, it, NULL));
    CHECK_VERSION(engine, it, 1);
    CHECK_REPLY(engine, it, "inc", "1");

    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_engine_rollback(engine, it, &error), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_CONTAINS(airssys_error_message(error), "test/it/0 has no earlier version");
    airssys_error_free(error);
    CHECK_REPLY(engine, it, "inc", "2");

    uint64_t none = load_as(engine, "test/none/0", "counter", "{\"kept-versions\": 0}");
    CHECK_OK(replace_by(engine, none, "echo", NULL, NULL));
    CHECK_STATUS(airssys_engine_rollback(engine, none, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_REPLY(engine, none, "hello", "hello");

    /* What is stopped runs again. */
    CHECK_OK(replace_by(engine, it, "echo", NULL, NULL));
    CHECK_OK(airssys_engine_stop(engine, it, UINT64_MAX, NULL));
    CHECK_OK(airssys_engine_rollback(engine, it, NULL));
    CHECK_OK(airssys_engine_wait(engine, it, "running", 0, NULL));
    CHECK_REPLY(engine, it, "inc", "1");
    airssys_engine_free(engine);
}

static void pool(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t it = load_as(engine, "test/it/0", "counter", "{\"instances\": 3}");
    CHECK_OK(replace_by(engine, it, "echo", NULL, NULL));
    for (int i = 0; i < 6; i++)
        CHECK_REPLY(engine, it, "hello", "hello");
    CHECK_STATUS(replace_by(engine, it, "probe", "{\"env\": {\"REFUSE\": \"because\"}}", NULL),
                 AIRSSYS_ERROR_INITIALIZATION_FAILED);
    for (int i = 0; i < 6; i++)
        CHECK_REPLY(engine, it, "hello", "hello");
    CHECK_VERSION(engine, it, 2);
    CHECK_OK(airssys_engine_rollback(engine, it, NULL));
    CHECK_OK(airssys_engine_wait(engine, it, "running", 0, NULL));
    CHECK_REPLY(engine, it, "inc", "1");
    airssys_engine_free(engine);
}

struct replacement {
    airssys_engine_t *engine;
    uint64_t handle;
    airssys_status_t status;
};

static void *replace_by_echo(void *argument)
{
    struct replacement *replacement = argument;
    replacement->status = replace_by(replacement->engine, replacement->handle, "echo", NULL, NULL);
    return NULL;
}

/* The new version waits for the message in progress, and handles those that wait. */
static void waiting_mail(void)
{
    static struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t it = load(engine, "chatty");
    CHECK_OK(send_text(engine, it, HOLD));
    wait_until_held(&log, 1);
    airssys_error_t *error = NULL;
    CHECK_STATUS(replace_by(engine, it, "echo", "{\"timeout-ms\": 10}", &error),
                 AIRSSYS_ERROR_TIMEOUT);
    CHECK_CONTAINS(airssys_error_message(error), "test/chatty/0 keeps version 1");
    CHECK_CONTAINS(airssys_error_message(error), "timeout-ms 10");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"version\":1");
    airssys_error_free(error);
    let_go(&log, 1);
    CHECK_REPLY(engine, it, "log info still-here", "ok");
    CHECK_WRITTEN(&log, "still-here ");

    CHECK_OK(send_text(engine, it, HOLD));
    wait_until_held(&log, 2);
    CHECK_OK(send_text(engine, it, "log info never"));
    wait_for_depth(engine, it, 1);
    struct replacement replacement = {engine, it, -1};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, replace_by_echo, &replacement) == 0);
    wait_for_depth(engine, it, 2);
    /* The mailbox stays open. */
    CHECK_OK(send_text(engine, it, "x"));
    let_go(&log, 2);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_OK(replacement.status);
    CHECK_REPLY(engine, it, "log info never", "log info never");
    CHECK_WRITTEN(&log, "still-here ");
    CHECK_NUMBER(described(engine, it, "messages.handled"), 6);
    airssys_engine_free(engine);
}

#define CALLERS 4

struct load {
    airssys_engine_t *engine;
    uint64_t handle;
    pthread_mutex_t lock;
    pthread_cond_t called;
    unsigned long calls;
    bool over;
};

static void *call_until_over(void *argument)
{
    struct load *load = argument;
    for (bool over = false; !over;) {
        airssys_bytes_t reply = {0};
        CHECK_OK(call(load->engine, load->handle, "inc", &reply, NULL));
        airssys_bytes_free(&reply);
        pthread_mutex_lock(&load->lock);
        load->calls++;
        over = load->over;
        pthread_cond_broadcast(&load->called);
        pthread_mutex_unlock(&load->lock);
    }
    return NULL;
}

/* No call fails, although some of the replacements do. */
static void under_load(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t it = load_as(engine, "test/it/0", "counter", NULL);
    struct load load = {engine, it, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false};
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, call_until_over, &load) == 0);
    for (int round = 0; round < 10; round++) {
        pthread_mutex_lock(&load.lock);
        unsigned long before = load.calls;
        pthread_mutex_unlock(&load.lock);
        CHECK_OK(replace_by(engine, it, "counter", NULL, NULL));
        CHECK_STATUS(replace_by(engine, it, "minimal", NULL, NULL), AIRSSYS_ERROR_INVALID_COMPONENT);
        CHECK_STATUS(replace_by(engine, it, "probe", "{\"env\": {\"TRAP_INIT\": \"1\"}}", NULL),
                     AIRSSYS_ERROR_TRAP);
        CHECK_OK(airssys_engine_rollback(engine, it, NULL));
        CHECK_OK(airssys_engine_replace(engine, it, NULL, 0, NULL, NULL));
        pthread_mutex_lock(&load.lock);
        while (load.calls <= before)
            pthread_cond_wait(&load.called, &load.lock);
        pthread_mutex_unlock(&load.lock);
    }
    pthread_mutex_lock(&load.lock);
    load.over = true;
    pthread_mutex_unlock(&load.lock);
    for (int i = 0; i < CALLERS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    CHECK_NUMBER(described(engine, it, "messages.handled"), (long long)load.calls);
    CHECK_NUMBER(described(engine, it, "messages.failed"), 0);
    CHECK_NUMBER(described(engine, it, "messages.dropped"), 0);
    CHECK_NUMBER(described(engine, it, "restarts"), 0);
    airssys_engine_free(engine);
}

/* A share of the messages goes to a new version, which is promoted or aborted. */
static void canaries(void)
{
    static const char half[] = "{\"canary\": {\"share-percent\": 50, \"promote\": \"by-call\"}}";
    airssys_engine_t *engine = new_engine();
    uint64_t it = load_as(engine, "test/it/0", "counter", "{}");
    CHECK_REPLY(engine, it, "inc", "1");
    CHECK_STATUS(airssys_engine_promote(engine, it, 0, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);

    CHECK_OK(replace_by(engine, it, "counter", half, NULL));
    CHECK_REPLY(engine, it, "inc", "2");
    CHECK_REPLY(engine, it, "inc", "1");
    CHECK_REPLY(engine, it, "inc", "3");
    CHECK_NUMBER(described(engine, it, "canary.messages"), 1);
    CHECK_STATUS(replace_by(engine, it, "echo", NULL, NULL), AIRSSYS_ERROR_CANARY_UNDER_WAY);
    CHECK_STATUS(airssys_engine_rollback(engine, it, NULL), AIRSSYS_ERROR_CANARY_UNDER_WAY);
    CHECK_OK(airssys_engine_abort(engine, it, UINT64_MAX, NULL));
    CHECK_REPLY(engine, it, "inc", "4");
    CHECK_STATUS(airssys_engine_abort(engine, it, 0, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_VERSION(engine, it, 1);

    CHECK_OK(replace_by(engine, it, "counter", half, NULL));
    CHECK_REPLY(engine, it, "inc", "5");
    CHECK_REPLY(engine, it, "inc", "1");
    CHECK_OK(airssys_engine_promote(engine, it, UINT64_MAX, NULL));
    CHECK_REPLY(engine, it, "inc", "2");
    CHECK_VERSION(engine, it, 3);
    CHECK_OK(airssys_engine_rollback(engine, it, NULL));
    CHECK_REPLY(engine, it, "inc", "1");
    CHECK_VERSION(engine, it, 1);
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    taking_over();
    configuration();
    failures();
    rollbacks();
    pool();
    waiting_mail();
    under_load();
    canaries();
    return check_done();
}
