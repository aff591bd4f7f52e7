/* Passivation, health of components and of the engine, and expected binaries. */
#include "trail.h"

/* A passive component gets an instance with its next message, and its state back. */
static void passivation(void)
{
    struct trail trail = TRAIL;
    airssys_engine_t *engine = engine_telling(&trail);
    uint64_t it = load_as(engine, "test/it/0", "ledger",
                          "{\"activation\": \"on-demand\", \"idle-timeout-ms\": 20}");
    airssys_bytes_t json = {0};
    CHECK_OK(airssys_engine_wait(engine, it, "passive", 0, NULL));
    REQUIRE(airssys_engine_describe(engine, it, &json, NULL) == AIRSSYS_OK);
    CHECK_CONTAINS((const char *)json.data, "\"metadata\":null");
    airssys_bytes_free(&json);

    CHECK_REPLY(engine, it, "add 7", "7");
    CHECK_OK(airssys_engine_wait(engine, it, "passive", UINT64_MAX, NULL));
    CHECK_NUMBER(described(engine, it, "memory-bytes"), 0);
    CHECK_REPLY(engine, it, "add 7", "14");
    CHECK_OK(airssys_engine_wait(engine, it, "passive", UINT64_MAX, NULL));
    CHECK_REPLY(engine, it, "history", "8 bytes from 0.1.0");
    CHECK_NUMBER(described(engine, it, "restarts"), 0);
    CHECK_OK(airssys_engine_wait(engine, it, "passive", UINT64_MAX, NULL));

    /* A stop leaves nothing of the state. */
    CHECK_OK(airssys_engine_stop(engine, it, UINT64_MAX, NULL));
    CHECK_OK(airssys_engine_wait(engine, it, "stopped", 0, NULL));
    CHECK_OK(airssys_engine_start(engine, it, NULL));
    CHECK_REPLY(engine, it, "sum", "0");

    static const char expected[] = "passive(registered) activating(mail) running(activated) "
                                   "passive(idle) activating(mail) running(activated) "
                                   "passive(idle) activating(mail) running(activated) "
                                   "passive(idle) ";
    pthread_mutex_lock(&trail.lock);
    while (trail.count < 10)
        pthread_cond_wait(&trail.changed, &trail.lock);
    CHECK(strncmp(trail.text, expected, strlen(expected)) == 0);
    pthread_mutex_unlock(&trail.lock);
    airssys_engine_free(engine);
}

/* The state moves when an instance is recycled. */
static void recycling(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t it = load_as(engine, "test/it/0", "ledger", "{\"recycle-after-messages\": 5}");
    char sum[16];
    for (int n = 1; n <= 12; n++) {
        snprintf(sum, sizeof sum, "%d", n);
        CHECK_REPLY(engine, it, "add 1", sum);
    }
    CHECK_NUMBER(described(engine, it, "restarts"), 2);
    airssys_engine_free(engine);
}

/* Expects a part of the document about the health of a component, or of the engine. */
static void check_health(airssys_engine_t *engine, uint64_t handle, const char *part,
                         const char *file, int line)
{
    airssys_bytes_t json = {0};
    REQUIRE(airssys_engine_health(engine, handle, &json, NULL) == AIRSSYS_OK);
    check_number((long long)strlen((const char *)json.data), (long long)json.len, file, line,
                 "length of the document");
    check_contains((const char *)json.data, part, file, line, "health");
    airssys_bytes_free(&json);
}

#define CHECK_HEALTH(engine, handle, part) \
    check_health((engine), (handle), (part), __FILE__, __LINE__)

static void health_of_the_engine(void)
{
    airssys_engine_t *engine = new_engine();
    CHECK_HEALTH(engine, AIRSSYS_ALL_COMPONENTS,
                 "{\"components\":0,\"live\":true,\"not-ready\":[],\"ready\":true}");
    uint64_t probe = load_as(engine, "test/probe/0", "probe", NULL);
    load_as(engine, "test/passive/0", "echo", "{\"activation\": \"on-demand\"}");
    uint64_t stopped = load_as(engine, "test/stopped/0", "echo", NULL);
    CHECK_OK(airssys_engine_stop(engine, stopped, UINT64_MAX, NULL));
    CHECK_HEALTH(engine, AIRSSYS_ALL_COMPONENTS,
                 "{\"components\":3,\"live\":true,\"not-ready\":[],\"ready\":true}");

    CHECK_REPLY(engine, probe, "health unhealthy", "ok");
    CHECK_HEALTH(engine, probe, "\"health\":\"unhealthy\"");
    CHECK_HEALTH(engine, AIRSSYS_ALL_COMPONENTS, "{\"components\":3,\"live\":true,\"not-ready\":[{");
    CHECK_HEALTH(engine, AIRSSYS_ALL_COMPONENTS,
                 "\"health\":\"unhealthy\",\"id\":\"test/probe/0\",\"state\":\"running\"}]");
    CHECK_HEALTH(engine, AIRSSYS_ALL_COMPONENTS, "\"ready\":false");
    CHECK_OK(airssys_engine_unload(engine, probe, NULL));
    CHECK_HEALTH(engine, AIRSSYS_ALL_COMPONENTS,
                 "{\"components\":2,\"live\":true,\"not-ready\":[],\"ready\":true}");

    airssys_bytes_t json = {0};
    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    CHECK_STATUS(airssys_engine_health(engine, AIRSSYS_ALL_COMPONENTS, &json, NULL),
                 AIRSSYS_ERROR_ENGINE_STOPPED);
    airssys_bytes_free(&json);
    airssys_engine_free(engine);
}

/* An instance that stays unhealthy is given up. */
static void health_checks(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t it = load_as(engine, "test/it/0", "probe",
                          "{\"health\": {\"interval-ms\": 5, \"unhealthy-after\": 2}, "
                          "\"supervision\": {\"restart\": \"temporary\"}}");
    CHECK_REPLY(engine, it, "health unhealthy", "ok");
    CHECK_OK(airssys_engine_wait(engine, it, "failed", UINT64_MAX, NULL));
    CHECK_IN_STATUS(engine, it, "it was unhealthy 2 times in a row");
    airssys_engine_free(engine);
}

/* Another component than the expected one is refused. */
static void expectations(void)
{
    static const struct {
        const char *options, *part;
    } refused[] = {
        {"{\"expect\": {\"name\": \"echo\"}}", "its name is \"counter\", and \"echo\" was"},
        {"{\"expect\": {\"version\": \"^1\"}}", "its version is \"0.1.0\", and ^1 was"},
        {"{\"sha256\": \"00000000000000000000000000000000"
         "00000000000000000000000000000000\"}",
         "its SHA-256 is"},
    };
    airssys_engine_t *engine = new_engine();
    char path[4096];
    guest_path("counter", path, sizeof path);
    uint64_t it = load_as(engine, "test/it/0", "counter",
                          "{\"expect\": {\"name\": \"counter\", \"version\": \">=0.1, <1\"}}");
    CHECK_REPLY(engine, it, "inc", "1");
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        airssys_error_t *error = NULL;
        uint64_t handle = 0;
        CHECK_STATUS(airssys_engine_load_file(engine, "test/other/0", path, refused[i].options,
                                              &handle, &error),
                     AIRSSYS_ERROR_INVALID_COMPONENT);
        CHECK_NUMBER(handle, 0);
        CHECK_CONTAINS(airssys_error_message(error), refused[i].part);
        airssys_error_free(error);
        error = NULL;
        CHECK_STATUS(airssys_engine_replace_file(engine, it, path, refused[i].options, &error),
                     AIRSSYS_ERROR_INVALID_COMPONENT);
        CHECK_CONTAINS(airssys_error_message(error), refused[i].part);
        CHECK_CONTAINS(airssys_error_message(error), "keeps version 1");
        airssys_error_free(error);
    }
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_engine_replace(engine, it, NULL, 0, "{\"newer\": true}", &error),
                 AIRSSYS_ERROR_INVALID_COMPONENT);
    CHECK_CONTAINS(airssys_error_message(error), "newer than 0.1.0");
    airssys_error_free(error);
    CHECK_REPLY(engine, it, "inc", "2");

    /* The list tells the binary. */
    airssys_bytes_t list = {0}, description = {0};
    char digest[65], described_digest[65];
    REQUIRE(airssys_engine_list(engine, &list, NULL) == AIRSSYS_OK);
    REQUIRE(airssys_engine_describe(engine, it, &description, NULL) == AIRSSYS_OK);
    text_in((const char *)list.data, "sha256", digest, sizeof digest);
    text_in((const char *)description.data, "sha256", described_digest, sizeof described_digest);
    CHECK_NUMBER(strlen(digest), 64);
    CHECK_TEXT(described_digest, digest);
    CHECK_CONTAINS((const char *)list.data, "\"version\":1");
    airssys_bytes_free(&list);
    airssys_bytes_free(&description);

    char options[128];
    snprintf(options, sizeof options, "{\"sha256\": \"%s\"}", digest);
    CHECK_OK(airssys_engine_replace_file(engine, it, path, options, NULL));
    CHECK_REPLY(engine, it, "inc", "1");
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    passivation();
    recycling();
    health_of_the_engine();
    health_checks();
    expectations();
    return check_done();
}
