/* Many threads: on one component, on different ones, loading and unloading. */
#include "host.h"

#define THREADS 8
#define ROUNDS 100

struct job {
    airssys_engine_t *engine;
    uint64_t shared;
    int number;
};

/* All threads call one counter, which must lose no call. */
static void *call_shared(void *argument)
{
    const struct job *job = argument;
    for (int round = 0; round < ROUNDS; round++) {
        airssys_bytes_t reply = {0};
        CHECK_OK(call(job->engine, job->shared, "inc", &reply, NULL));
        CHECK(reply.len > 0);
        airssys_bytes_free(&reply);
    }
    return NULL;
}

/* Each thread has its own components, with one id and one binary. */
static void *call_own(void *argument)
{
    const struct job *job = argument;
    for (int round = 0; round < 10; round++) {
        uint64_t own = load(job->engine, "counter");
        for (int i = 1; i <= 10; i++) {
            char expected[16];
            snprintf(expected, sizeof expected, "%d", i);
            CHECK_REPLY(job->engine, own, "inc", expected);
        }
        CHECK_OK(airssys_engine_unload(job->engine, own, NULL));
    }
    return NULL;
}

/* Several threads unload one component while others call it. */
static void *call_and_unload(void *argument)
{
    const struct job *job = argument;
    for (int round = 0; round < ROUNDS; round++) {
        airssys_bytes_t reply = {0};
        airssys_status_t status = call(job->engine, job->shared, "inc", &reply, NULL);
        CHECK(status == AIRSSYS_OK || status == AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
        airssys_bytes_free(&reply);
        if (round == ROUNDS / 2)
            CHECK_OK(airssys_engine_unload(job->engine, job->shared, NULL));
    }
    return NULL;
}

/* Errors of several threads do not mix. */
static void *fail(void *argument)
{
    const struct job *job = argument;
    for (int round = 0; round < ROUNDS; round++) {
        char command[64];
        snprintf(command, sizeof command, "fail runtime-error thread %d round %d", job->number,
                 round);
        CHECK_FAILS(job->engine, job->shared, command, AIRSSYS_ERROR_RUNTIME,
                    strstr(command, "thread"));
    }
    return NULL;
}

static void on_all_threads(airssys_engine_t *engine, uint64_t shared, void *(*run)(void *))
{
    pthread_t threads[THREADS];
    struct job jobs[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i].engine = engine;
        jobs[i].shared = shared;
        jobs[i].number = i;
        REQUIRE(pthread_create(&threads[i], NULL, run, &jobs[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
}

int main(void)
{
    check_begin();
    airssys_engine_t *engine = new_engine();
    uint64_t counter = load(engine, "counter");
    char total[16];
    snprintf(total, sizeof total, "%d", THREADS * ROUNDS);
    on_all_threads(engine, counter, call_shared);
    CHECK_REPLY(engine, counter, "get", total);
    on_all_threads(engine, counter, call_own);
    CHECK_REPLY(engine, counter, "get", total);
    on_all_threads(engine, load(engine, "probe"), fail);
    on_all_threads(engine, counter, call_and_unload);
    CHECK_FAILS(engine, counter, "get", AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "handle");
    airssys_engine_free(engine);
    return check_done();
}
