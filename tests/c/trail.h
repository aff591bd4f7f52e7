/* The states of components: their changes as events tell them, and the status document. */
#ifndef TRAIL_H
#define TRAIL_H

#include "host.h"

/* What state events tell, in order: `running(loaded) stopping(stop)`. */
struct trail {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t count;
    char text[512];
};

/* Copies the text of a member. */
static inline void text_in(const char *json, const char *member, char *text, size_t size)
{
    char key[32];
    snprintf(key, sizeof key, "\"%s\":\"", member);
    const char *found = strstr(json, key);
    REQUIRE(found != NULL);
    found += strlen(key);
    snprintf(text, size, "%.*s", (int)strcspn(found, "\""), found);
}

static inline void trail_take(void *user_data, const airssys_event_t *event)
{
    struct trail *trail = user_data;
    char to[32], cause[32];
    if (strcmp(event->kind, "state") != 0)
        return;
    text_in(event->json, "to", to, sizeof to);
    text_in(event->json, "cause", cause, sizeof cause);
    pthread_mutex_lock(&trail->lock);
    size_t len = strlen(trail->text);
    snprintf(trail->text + len, sizeof trail->text - len, "%s%s(%s)", len > 0 ? " " : "", to,
             cause);
    trail->count++;
    pthread_cond_broadcast(&trail->changed);
    pthread_mutex_unlock(&trail->lock);
}

static inline void wait_for_changes(struct trail *trail, size_t count)
{
    pthread_mutex_lock(&trail->lock);
    while (trail->count < count)
        pthread_cond_wait(&trail->changed, &trail->lock);
    CHECK_NUMBER(trail->count, count);
    pthread_mutex_unlock(&trail->lock);
}

static inline airssys_engine_t *engine_telling(struct trail *trail)
{
    airssys_events_t events = {0};
    events.size = sizeof events;
    events.user_data = trail;
    events.event = trail_take;
    airssys_config_t *config = new_config();
    REQUIRE(airssys_config_set_events(config, &events, NULL) == AIRSSYS_OK);
    return silent_engine(config);
}

#define TRAIL {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}

/* Expects a part of the status document. */
static inline void check_status_of(airssys_engine_t *engine, uint64_t handle, const char *part,
                                   const char *file, int line)
{
    airssys_bytes_t json = {0};
    REQUIRE(airssys_engine_status(engine, handle, &json, NULL) == AIRSSYS_OK);
    /* The NUL at the end does not count. */
    CHECK_NUMBER(strlen((const char *)json.data), json.len);
    check_contains((const char *)json.data, part, file, line, "status");
    airssys_bytes_free(&json);
}

#define CHECK_IN_STATUS(engine, handle, part) \
    check_status_of((engine), (handle), (part), __FILE__, __LINE__)

/* The number at `path` in the document of `airssys_engine_status`. */
static inline long long in_status(airssys_engine_t *engine, uint64_t handle, const char *path)
{
    airssys_bytes_t json = {0};
    REQUIRE(airssys_engine_status(engine, handle, &json, NULL) == AIRSSYS_OK);
    long long number = number_in(&json, path);
    airssys_bytes_free(&json);
    return number;
}

#endif
