/* The outcome of one request, taken by a completion callback and waited for on other threads. */
#ifndef ANSWER_H
#define ANSWER_H

#include "host.h"

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t came;
    unsigned times;
    uint64_t request;
    airssys_status_t status;
    bool replied;
    char reply[512], message[256], detail[512];
    size_t reply_len;
};

#define ANSWER {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER}

static inline void answer_take(void *user_data, const airssys_completion_t *completion)
{
    struct answer *answer = user_data;
    pthread_mutex_lock(&answer->lock);
    CHECK_NUMBER(completion->size, sizeof *completion);
    CHECK((completion->status == AIRSSYS_OK) == (completion->error == NULL));
    CHECK_STATUS(airssys_error_status(completion->error), completion->status);
    CHECK(completion->reply != NULL || completion->reply_len == 0);
    CHECK(completion->status == AIRSSYS_OK || completion->reply == NULL);
    answer->times++;
    answer->request = completion->request;
    answer->status = completion->status;
    answer->replied = completion->reply != NULL;
    answer->reply_len = completion->reply_len;
    snprintf(answer->reply, sizeof answer->reply, "%.*s", (int)completion->reply_len,
             completion->reply != NULL ? (const char *)completion->reply : "");
    snprintf(answer->message, sizeof answer->message, "%s",
             airssys_error_message(completion->error));
    snprintf(answer->detail, sizeof answer->detail, "%s",
             airssys_error_detail_json(completion->error));
    pthread_cond_broadcast(&answer->came);
    pthread_mutex_unlock(&answer->lock);
}

/* Waits for the outcome; the watchdog of the test ends a wait for one that never comes. */
static inline void wait_for_answer(struct answer *answer)
{
    pthread_mutex_lock(&answer->lock);
    while (answer->times == 0)
        pthread_cond_wait(&answer->came, &answer->lock);
    pthread_mutex_unlock(&answer->lock);
}

/* Makes a request that must be accepted; `timeout_ms` 0: no deadline. */
static inline uint64_t request_for(airssys_engine_t *engine, uint64_t handle, const char *text,
                                   uint64_t timeout_ms, struct answer *answer)
{
    airssys_message_options_t options = {0};
    airssys_error_t *error = NULL;
    uint64_t id = 0;
    options.size = sizeof options;
    options.timeout_ms = timeout_ms;
    CHECK_OK(airssys_engine_request(engine, handle, (const uint8_t *)text, strlen(text), &options,
                                    answer_take, answer, &id, &error));
    if (error != NULL)
        fprintf(stderr, "%s\n", airssys_error_message(error));
    airssys_error_free(error);
    CHECK(id != 0);
    return id;
}

static inline uint64_t request(airssys_engine_t *engine, uint64_t handle, const char *text,
                               struct answer *answer)
{
    return request_for(engine, handle, text, 0, answer);
}

/* Waits for the outcome of request `id`, and looks at it; `part` is in the reply or the message. */
static inline void check_answer(struct answer *answer, uint64_t id, airssys_status_t status,
                                const char *part, const char *file, int line)
{
    wait_for_answer(answer);
    pthread_mutex_lock(&answer->lock);
    check_status(answer->status, status, file, line, "status of the outcome");
    check_contains(status == AIRSSYS_OK ? answer->reply : answer->message, part, file, line,
                   "the outcome");
    check_record(answer->request == id, file, line, "request of the outcome", "its id", "another");
    check_number(answer->times, 1, file, line, "outcomes");
    pthread_mutex_unlock(&answer->lock);
}

#define CHECK_ANSWER(answer, id, status, part) \
    check_answer((answer), (id), (status), (part), __FILE__, __LINE__)

#endif
