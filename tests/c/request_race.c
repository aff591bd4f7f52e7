/* Reply, deadline, cancellation and the end of the engine race for requests: exactly one wins. */
#include "host.h"

#define THREADS 4
#define REQUESTS 1500

struct race;

struct slot {
    struct race *race;
    uint64_t id;                 /* As the function returned it; 0: not yet, or refused. */
    uint64_t completed;          /* As the callback got it. */
    airssys_status_t outcome;
    unsigned outcomes, cancelled; /* How often a callback came, how often a cancellation took it. */
};

struct race {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    airssys_engine_t *engine;
    uint64_t handle;
    unsigned outcomes;
    struct slot slots[THREADS][REQUESTS];
};

struct runner {
    struct race *race;
    int number;
};

static void count(void *user_data, const airssys_completion_t *completion)
{
    struct slot *slot = user_data;
    pthread_mutex_lock(&slot->race->lock);
    slot->completed = completion->request;
    slot->outcome = completion->status;
    slot->outcomes++;
    slot->race->outcomes++;
    pthread_cond_broadcast(&slot->race->changed);
    pthread_mutex_unlock(&slot->race->lock);
}

/* Cancels a request that may be open, complete, or being cancelled by another thread. */
static void cancel(struct race *race, struct slot *slot)
{
    pthread_mutex_lock(&race->lock);
    uint64_t id = slot->id;
    pthread_mutex_unlock(&race->lock);
    if (id == 0)
        return;
    airssys_status_t status = airssys_engine_cancel(race->engine, id, NULL);
    /* Recorded only on failure, because the number of checks is random. */
    if (status != AIRSSYS_OK && status != AIRSSYS_ERROR_REQUEST_NOT_FOUND)
        CHECK_STATUS(status, AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    pthread_mutex_lock(&race->lock);
    slot->cancelled += status == AIRSSYS_OK;
    pthread_mutex_unlock(&race->lock);
}

static void *run(void *argument)
{
    const struct runner *runner = argument;
    struct race *race = runner->race;
    for (int i = 0; i < REQUESTS; i++) {
        struct slot *own = &race->slots[runner->number][i];
        airssys_message_options_t options = {0};
        uint64_t id = 0;
        options.size = sizeof options;
        /* About as long as the component takes, or no deadline. */
        options.timeout_ms = (uint64_t)(i % 3);
        own->race = race;
        airssys_status_t status =
            airssys_engine_request(race->engine, race->handle, (const uint8_t *)"sleep 1", 7,
                                   &options, count, own, &id, NULL);
        if (status != AIRSSYS_OK) {
            if (status != AIRSSYS_ERROR_ENGINE_STOPPED)
                CHECK_STATUS(status, AIRSSYS_ERROR_ENGINE_STOPPED);
            continue;
        }
        pthread_mutex_lock(&race->lock);
        own->id = id;
        pthread_mutex_unlock(&race->lock);
        if (i % 5 == 0)
            cancel(race, own);
        if (i % 7 == 0)
            cancel(race, &race->slots[(runner->number + 1) % THREADS][i]);
        if (i >= 10)
            cancel(race, &race->slots[(runner->number + 2) % THREADS][i - 10]);
    }
    return NULL;
}

static int by_number(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Each request that was accepted has one outcome, under its id, and a cancellation that succeeded
 * is it. Returns how many were accepted. */
static unsigned check_slots(struct race *race, unsigned outcomes[2])
{
    static uint64_t ids[THREADS * REQUESTS];
    unsigned accepted = 0, odd = 0, again = 0;
    for (int thread = 0; thread < THREADS; thread++) {
        for (int i = 0; i < REQUESTS; i++) {
            const struct slot *slot = &race->slots[thread][i];
            if (slot->id == 0) {
                odd += slot->outcomes != 0;
                continue;
            }
            ids[accepted++] = slot->id;
            odd += slot->outcomes != 1 || slot->completed != slot->id;
            odd += slot->cancelled != (slot->outcome == AIRSSYS_ERROR_CANCELLED);
            odd += slot->outcome != AIRSSYS_OK && slot->outcome != AIRSSYS_ERROR_TIMEOUT &&
                   slot->outcome != AIRSSYS_ERROR_CANCELLED &&
                   slot->outcome != AIRSSYS_ERROR_ENGINE_STOPPED;
            outcomes[slot->outcome != AIRSSYS_OK]++;
        }
    }
    qsort(ids, accepted, sizeof *ids, by_number);
    for (unsigned i = 1; i < accepted; i++)
        again += ids[i] == ids[i - 1];
    CHECK_NUMBER(odd, 0);
    CHECK_NUMBER(again, 0);
    return accepted;
}

/* `stop_after` 0: everything ends by itself; else the engine is shut down after so many outcomes. */
static void race(unsigned stop_after)
{
    static struct race race;
    pthread_t threads[THREADS];
    struct runner runners[THREADS];
    memset(&race, 0, sizeof race);
    REQUIRE(pthread_mutex_init(&race.lock, NULL) == 0);
    REQUIRE(pthread_cond_init(&race.changed, NULL) == 0);
    race.engine = new_engine();
    race.handle = load_as(race.engine, "test/sleeper/0", "chatty",
                          "{\"instances\": 8, \"mailbox\": {\"capacity\": 10000}}");
    for (int i = 0; i < THREADS; i++) {
        runners[i] = (struct runner){&race, i};
        REQUIRE(pthread_create(&threads[i], NULL, run, &runners[i]) == 0);
    }
    if (stop_after > 0) {
        pthread_mutex_lock(&race.lock);
        while (race.outcomes < stop_after)
            pthread_cond_wait(&race.changed, &race.lock);
        pthread_mutex_unlock(&race.lock);
        airssys_status_t status = airssys_engine_shutdown(race.engine, 0, NULL);
        CHECK(status == AIRSSYS_OK || status == AIRSSYS_ERROR_TIMEOUT);
    }
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);

    unsigned outcomes[2] = {0, 0};
    if (stop_after > 0) {
        airssys_engine_free(race.engine);
        unsigned accepted = check_slots(&race, outcomes);
        CHECK_NUMBER(race.outcomes, accepted);
        return;
    }
    pthread_mutex_lock(&race.lock);
    while (race.outcomes < THREADS * REQUESTS)
        pthread_cond_wait(&race.changed, &race.lock);
    pthread_mutex_unlock(&race.lock);

    /* Messages of early outcomes were withdrawn, or handled with their replies dropped. */
    long long taken_back = described(race.engine, race.handle, "messages.dropped");
    CHECK_OK(airssys_engine_shutdown(race.engine, UINT64_MAX, NULL));
    CHECK_NUMBER(counted(race.engine, "requests.outstanding"), 0);
    long long late = counted(race.engine, "requests.late-replies");
    airssys_engine_free(race.engine);
    CHECK_NUMBER(check_slots(&race, outcomes), THREADS * REQUESTS);
    CHECK_NUMBER(race.outcomes, THREADS * REQUESTS);
    CHECK_NUMBER(late + taken_back, outcomes[1]);
    /* It was a race. */
    CHECK(outcomes[0] > 0 && outcomes[1] > 0);
}

int main(void)
{
    check_begin();
    race(0);
    for (unsigned i = 1; i <= 3; i++)
        race(i * 500);
    return check_done();
}
