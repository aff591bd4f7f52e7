/* Completion callbacks call the library, wait, and free the engine that calls them. */
#include "answer.h"
#include "holding_log.h"

#include <limits.h>

struct host {
    airssys_engine_t *engine;
    uint64_t echo, counter, chatty;
    struct holding_log *log;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned done, left;
    uint64_t other;
    struct answer *others;
    unsigned count;
};

static void done(struct host *host)
{
    pthread_mutex_lock(&host->lock);
    host->done++;
    pthread_cond_broadcast(&host->changed);
    pthread_mutex_unlock(&host->lock);
}

static void wait_until_done(struct host *host, unsigned count)
{
    pthread_mutex_lock(&host->lock);
    while (host->done < count)
        pthread_cond_wait(&host->changed, &host->lock);
    pthread_mutex_unlock(&host->lock);
}

static void use_everything(void *user_data, const airssys_completion_t *completion)
{
    struct host *host = user_data;
    struct answer inner = ANSWER;
    airssys_bytes_t out = {0};
    CHECK_OK(completion->status);
    CHECK_REPLY(host->engine, host->echo, "from a completion", "from a completion");
    CHECK_OK(send_text(host->engine, host->counter, "inc"));
    CHECK_OK(airssys_engine_broadcast(host->engine, &host->counter, 1, (const uint8_t *)"inc", 3,
                                      NULL, NULL));
    CHECK_OK(airssys_engine_health(host->engine, host->counter, &out, NULL));
    airssys_bytes_free(&out);
    CHECK_REPLY(host->engine, host->counter, "get", "2");

    /* Waits for another completion, on another thread. */
    CHECK_ANSWER(&inner, request(host->engine, host->echo, "inner", &inner), AIRSSYS_OK, "inner");

    /* Its own request is complete, another is still open. */
    CHECK_STATUS(airssys_engine_cancel(host->engine, completion->request, NULL),
                 AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    CHECK_OK(airssys_engine_cancel(host->engine, host->other, NULL));

    uint64_t loaded = load_as(host->engine, "test/loaded/0", "counter", NULL);
    CHECK_REPLY(host->engine, loaded, "inc", "1");
    CHECK_OK(airssys_engine_unload(host->engine, loaded, NULL));
    /* The component that replied. It waits for nobody. */
    CHECK_OK(airssys_engine_unload(host->engine, host->echo, NULL));
    airssys_engine_t *other = new_engine();
    CHECK_REPLY(other, load(other, "echo"), "other", "other");
    airssys_engine_free(other);
    done(host);
}

static void reentry(void)
{
    struct holding_log log = HOLDING_LOG;
    struct host host = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct answer held = ANSWER, other = ANSWER;
    uint64_t id = 0;
    host.engine = engine_holding(&log);
    host.echo = load(host.engine, "echo");
    host.counter = load(host.engine, "counter");
    host.chatty = load(host.engine, "chatty");
    request(host.engine, host.chatty, HOLD, &held);
    wait_until_held(&log, 1);
    host.other = request(host.engine, host.chatty, "log info other", &other);
    CHECK_OK(airssys_engine_request(host.engine, host.echo, NULL, 0, NULL, use_everything, &host,
                                    &id, NULL));
    wait_until_done(&host, 1);
    CHECK_ANSWER(&other, host.other, AIRSSYS_ERROR_CANCELLED, "");
    let_go(&log, UINT_MAX);
    airssys_engine_free(host.engine);
    CHECK_NUMBER(held.times, 1);
}

/* Each completion sends the next request. */
static void go_on(void *user_data, const airssys_completion_t *completion)
{
    struct host *host = user_data;
    uint64_t id = 0;
    CHECK_OK(completion->status);
    if (host->left > 0) {
        host->left--;
        CHECK_OK(airssys_engine_request(host->engine, host->echo, NULL, 0, NULL, go_on, host, &id,
                                        NULL));
    } else {
        done(host);
    }
}

static void chain(void)
{
    struct host host = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    host.left = 1000;
    uint64_t id = 0;
    host.engine = new_engine();
    host.echo = load(host.engine, "echo");
    CHECK_OK(airssys_engine_request(host.engine, host.echo, NULL, 0, NULL, go_on, &host, &id,
                                    NULL));
    wait_until_done(&host, 1);
    CHECK_NUMBER(host.left, 0);
    airssys_engine_free(host.engine);
}

/* Waits until all are inside a completion: completions run concurrently and do not delay each other. */
static void meet(void *user_data, const airssys_completion_t *completion)
{
    struct host *host = user_data;
    CHECK_OK(completion->status);
    done(host);
    wait_until_done(host, host->count);
}

static void all_at_once(void)
{
    struct host host = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    host.count = 16;
    uint64_t id = 0;
    host.engine = new_engine();
    host.echo = load(host.engine, "echo");
    for (unsigned i = 0; i < host.count; i++)
        CHECK_OK(airssys_engine_request(host.engine, host.echo, NULL, 0, NULL, meet, &host, &id,
                                        NULL));
    wait_until_done(&host, host.count);
    CHECK_REPLY(host.engine, host.echo, "after", "after");
    airssys_engine_free(host.engine);
    CHECK_NUMBER(host.done, host.count);
}

static void end_engine(void *user_data, const airssys_completion_t *completion)
{
    struct host *host = user_data;
    (void)completion;
    airssys_engine_free(host->engine);
    /* Released only now: the free has waited for no completion. */
    let_go(host->log, UINT_MAX);
    done(host);
}

/* How the request reaches the completion that frees the engine. */
enum way { REPLIED, TIMED_OUT, CANCELLED };

/* One request is running, others wait behind it. All of them end exactly once. */
static void free_in_completion(enum way way)
{
    enum { OPEN = 20 };
    struct holding_log log = HOLDING_LOG;
    struct host host = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct answer open[OPEN];
    airssys_message_options_t options = {0};
    uint64_t id = 0, ids[OPEN];
    options.size = sizeof options;
    options.timeout_ms = way == TIMED_OUT ? 1 : 0;
    host.log = &log;
    host.engine = engine_holding(&log);
    host.echo = load(host.engine, "echo");
    host.chatty = load(host.engine, "chatty");
    for (int i = 0; i < OPEN; i++) {
        open[i] = (struct answer)ANSWER;
        ids[i] = request(host.engine, host.chatty, i == 0 ? HOLD : "log info behind", &open[i]);
    }
    wait_until_held(&log, 1);
    if (way == CANCELLED) {
        CHECK_OK(airssys_engine_request(host.engine, host.chatty, NULL, 0, NULL, end_engine, &host,
                                        &id, NULL));
        /* The engine may be freed before this returns, while the call is running. */
        CHECK_OK(airssys_engine_cancel(host.engine, id, NULL));
    } else {
        CHECK_OK(airssys_engine_request(host.engine, way == REPLIED ? host.echo : host.chatty, NULL,
                                        0, &options, end_engine, &host, &id, NULL));
    }
    wait_until_done(&host, 1);
    for (int i = 1; i < OPEN; i++)
        CHECK_ANSWER(&open[i], ids[i], AIRSSYS_ERROR_ENGINE_STOPPED, "stopped");
    wait_for_answer(&open[0]);
    wait_until_dropped(&log, 1);
    for (int i = 0; i < OPEN; i++)
        CHECK_NUMBER(open[i].times, 1);
    CHECK_WRITTEN(&log, "");
}

int main(void)
{
    check_begin();
    reentry();
    chain();
    all_at_once();
    for (int round = 0; round < 4; round++) {
        free_in_completion(REPLIED);
        free_in_completion(TIMED_OUT);
        free_in_completion(CANCELLED);
    }
    return check_done();
}
