/* An engine ends while several threads use it in loops: each call returns a status. */
#include "answer.h"

#include <semaphore.h>

#define THREADS 4
#define ROUNDS 6

enum use { SEND, CALL, REQUEST, BROADCAST };

struct host {
    airssys_engine_t *engine;
    uint64_t shared;
    /* Held while a call starts: no call may start once the engine is being freed. */
    sem_t entry;
    bool closing;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned rounds, accepted, outcomes, wrong;
};

struct user {
    struct host *host;
    enum use use;
    uint64_t own;
    char id[32];
    /* Whether this thread holds the semaphore. */
    bool entering;
};

static void count(void *user_data, const airssys_completion_t *completion)
{
    struct host *host = user_data;
    pthread_mutex_lock(&host->lock);
    host->outcomes++;
    /* `drop-oldest` is among the options. */
    host->wrong += completion->status != AIRSSYS_OK &&
                   completion->status != AIRSSYS_ERROR_QUEUE_FULL &&
                   completion->status != AIRSSYS_ERROR_ENGINE_STOPPED;
    pthread_mutex_unlock(&host->lock);
}

/* Recorded only on failure, because the number of checks is random. */
static void check_expected(airssys_status_t status, enum use use)
{
    if (status != AIRSSYS_OK && status != AIRSSYS_ERROR_ENGINE_STOPPED &&
        status != AIRSSYS_ERROR_QUEUE_FULL &&
        (status != AIRSSYS_ERROR_DELIVERY_FAILED || use != BROADCAST))
        CHECK_STATUS(status, AIRSSYS_ERROR_ENGINE_STOPPED);
}

static struct user *callers[THREADS];

/* The first record of a call says that it is under way: others may enter. It comes on the thread
 * of the call, since its component is idle, or on another while that one waits. */
static void entered(void *user_data, const airssys_log_record_t *record)
{
    struct host *host = user_data;
    for (int i = 0; i < THREADS; i++)
        if (callers[i] != NULL && record->component != NULL &&
            strcmp(callers[i]->id, record->component) == 0 && callers[i]->entering) {
            callers[i]->entering = false;
            sem_post(&host->entry);
        }
}

static bool may_enter(struct host *host)
{
    while (sem_wait(&host->entry) != 0)
        ;
    if (!host->closing)
        return true;
    sem_post(&host->entry);
    return false;
}

static airssys_status_t use_once(struct user *user)
{
    struct host *host = user->host;
    const uint8_t *echo = (const uint8_t *)"echo";
    airssys_status_t status = AIRSSYS_OK;
    uint64_t id = 0;
    if (user->use == CALL) {
        airssys_bytes_t reply = {0};
        user->entering = true;
        status = call(host->engine, user->own, "flood 2000", &reply, NULL);
        airssys_bytes_free(&reply);
        if (user->entering)
            sem_post(&host->entry);
        user->entering = false;
        return status;
    }
    if (user->use == SEND) {
        status = airssys_engine_send(host->engine, host->shared, echo, 4, NULL, NULL);
    } else if (user->use == BROADCAST) {
        uint64_t handles[3] = {host->shared, host->shared, host->shared};
        status = airssys_engine_broadcast(host->engine, handles, 3, echo, 4, NULL, NULL);
    } else {
        status = airssys_engine_request(host->engine, host->shared, echo, 4, NULL, count, host, &id,
                                        NULL);
        pthread_mutex_lock(&host->lock);
        host->accepted += status == AIRSSYS_OK;
        pthread_mutex_unlock(&host->lock);
    }
    sem_post(&host->entry);
    return status;
}

static void *use_in_a_loop(void *argument)
{
    struct user *user = argument;
    while (may_enter(user->host)) {
        check_expected(use_once(user), user->use);
        pthread_mutex_lock(&user->host->lock);
        user->host->rounds++;
        pthread_cond_broadcast(&user->host->changed);
        pthread_mutex_unlock(&user->host->lock);
    }
    return NULL;
}

static void set_up(struct host *host)
{
    airssys_config_t *config = new_config();
    airssys_logger_t logger = {0};
    memset(host, 0, sizeof *host);
    REQUIRE(sem_init(&host->entry, 0, 1) == 0);
    REQUIRE(pthread_mutex_init(&host->lock, NULL) == 0);
    REQUIRE(pthread_cond_init(&host->changed, NULL) == 0);
    logger.size = sizeof logger;
    logger.user_data = host;
    logger.log = entered;
    logger.min_level = AIRSSYS_LOG_INFO;
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    host->engine = engine_with(config);
    airssys_config_free(config);
    host->shared = load(host->engine, "echo");
}

/* Frees the engine during calls, while no new call starts. */
static void freed(unsigned rounds, const enum use uses[THREADS])
{
    static struct host host;
    struct user users[THREADS];
    pthread_t threads[THREADS];
    set_up(&host);
    for (int i = 0; i < THREADS; i++) {
        users[i] = (struct user){&host, uses[i], 0, "", false};
        snprintf(users[i].id, sizeof users[i].id, "test/own/%d", i);
        callers[i] = &users[i];
        users[i].own = load_as(host.engine, users[i].id, "chatty", NULL);
    }
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, use_in_a_loop, &users[i]) == 0);
    pthread_mutex_lock(&host.lock);
    while (host.rounds < rounds)
        pthread_cond_wait(&host.changed, &host.lock);
    pthread_mutex_unlock(&host.lock);
    while (sem_wait(&host.entry) != 0)
        ;
    host.closing = true;
    airssys_engine_free(host.engine);
    sem_post(&host.entry);
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
        callers[i] = NULL;
    }
    CHECK_NUMBER(host.outcomes, host.accepted);
    CHECK_NUMBER(host.wrong, 0);
    sem_destroy(&host.entry);
}

struct looper {
    airssys_engine_t *engine;
    uint64_t handle;
    enum use use;
    struct host *host;
};

/* A shutdown may come at any time: every thread continues until it gets the error. */
static void *use_until_stopped(void *argument)
{
    const struct looper *looper = argument;
    airssys_status_t status = AIRSSYS_OK;
    while (status != AIRSSYS_ERROR_ENGINE_STOPPED) {
        airssys_bytes_t reply = {0};
        uint64_t id = 0;
        switch (looper->use) {
        case CALL:
            status = call(looper->engine, looper->handle, "inc", &reply, NULL);
            airssys_bytes_free(&reply);
            break;
        case SEND:
            status = send_text(looper->engine, looper->handle, "inc");
            break;
        case BROADCAST:
            status = airssys_engine_broadcast(looper->engine, &looper->handle, 1,
                                              (const uint8_t *)"inc", 3, NULL, NULL);
            break;
        case REQUEST:
            status = airssys_engine_request(looper->engine, looper->handle, (const uint8_t *)"inc",
                                            3, NULL, count, looper->host, &id, NULL);
            pthread_mutex_lock(&looper->host->lock);
            looper->host->accepted += status == AIRSSYS_OK;
            pthread_mutex_unlock(&looper->host->lock);
        }
        check_expected(status, looper->use);
        pthread_mutex_lock(&looper->host->lock);
        looper->host->rounds++;
        pthread_cond_broadcast(&looper->host->changed);
        pthread_mutex_unlock(&looper->host->lock);
    }
    return NULL;
}

static void shut_down(unsigned rounds, uint64_t timeout_ms, const char *options)
{
    static struct host host;
    pthread_t threads[THREADS];
    struct looper loopers[THREADS];
    set_up(&host);
    uint64_t counter = load_as(host.engine, "test/counter/0", "counter", options);
    for (int i = 0; i < THREADS; i++) {
        loopers[i] = (struct looper){host.engine, counter, (enum use)i, &host};
        REQUIRE(pthread_create(&threads[i], NULL, use_until_stopped, &loopers[i]) == 0);
    }
    pthread_mutex_lock(&host.lock);
    while (host.rounds < rounds)
        pthread_cond_wait(&host.changed, &host.lock);
    pthread_mutex_unlock(&host.lock);
    airssys_status_t status = airssys_engine_shutdown(host.engine, timeout_ms, NULL);
    CHECK(status == AIRSSYS_OK || (status == AIRSSYS_ERROR_TIMEOUT && timeout_ms == 0));
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    airssys_engine_free(host.engine);
    CHECK_NUMBER(host.outcomes, host.accepted);
    CHECK_NUMBER(host.wrong, 0);
    sem_destroy(&host.entry);
}

int main(void)
{
    check_begin();
    static const enum use mixed[THREADS] = {SEND, CALL, REQUEST, CALL};
    static const enum use calls[THREADS] = {CALL, CALL, CALL, CALL};
    static const enum use asynchronous[THREADS] = {REQUEST, SEND, REQUEST, BROADCAST};
    for (unsigned round = 0; round < ROUNDS; round++) {
        freed(1 + round * 7, mixed);
        freed(1 + round * 3, calls);
        freed(1 + round * 100, asynchronous);
        shut_down(1 + round * 100, 0, NULL);
        shut_down(1 + round * 100, UINT64_MAX, NULL);
        shut_down(1 + round * 100, UINT64_MAX,
                  "{\"mailbox\": {\"capacity\": 4, \"when-full\": \"block\"}}");
        shut_down(1 + round * 100, 0, "{\"instances\": 3}");
        shut_down(1 + round * 100, 0,
                  "{\"mailbox\": {\"capacity\": 2, \"when-full\": \"drop-oldest\"}}");
    }
    return check_done();
}
