/* Keeps the events that an engine tells. */
#ifndef EVENT_LIST_H
#define EVENT_LIST_H

#include "host.h"

#define EVENTS_KEPT 64

struct event_list {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* All events that came; the first of them are kept. */
    size_t count;
    struct {
        char kind[32], json[512], payload[64];
        bool has_payload;
        size_t payload_len;
    } events[EVENTS_KEPT];
    /* How many are told at this moment, and the most that were. */
    unsigned inside, most_inside;
    /* Whether the callback waits. */
    bool held;
    unsigned drops;
};

#define EVENT_LIST {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}

static inline void event_list_take(void *user_data, const airssys_event_t *event)
{
    struct event_list *list = user_data;
    if (strcmp(event->kind, "state") == 0)
        return;
    pthread_mutex_lock(&list->lock);
    if (++list->inside > list->most_inside)
        list->most_inside = list->inside;
    CHECK_NUMBER(event->size, sizeof *event);
    CHECK(event->payload != NULL || event->payload_len == 0);
    if (list->count < EVENTS_KEPT) {
        size_t at = list->count, copied = event->payload_len;
        if (copied >= sizeof list->events[at].payload)
            copied = sizeof list->events[at].payload - 1;
        snprintf(list->events[at].kind, sizeof list->events[at].kind, "%s", event->kind);
        snprintf(list->events[at].json, sizeof list->events[at].json, "%s", event->json);
        if (copied > 0)
            memcpy(list->events[at].payload, event->payload, copied);
        list->events[at].payload[copied] = '\0';
        list->events[at].has_payload = event->payload != NULL;
        list->events[at].payload_len = event->payload_len;
    }
    list->count++;
    pthread_cond_broadcast(&list->changed);
    while (list->held)
        pthread_cond_wait(&list->changed, &list->lock);
    list->inside--;
    pthread_mutex_unlock(&list->lock);
}

static inline void event_list_drop(void *user_data)
{
    struct event_list *list = user_data;
    pthread_mutex_lock(&list->lock);
    CHECK_NUMBER(list->inside, 0);
    list->drops++;
    pthread_cond_broadcast(&list->changed);
    pthread_mutex_unlock(&list->lock);
}

static inline airssys_events_t events_to(struct event_list *list)
{
    airssys_events_t events = {0};
    events.size = sizeof events;
    events.user_data = list;
    events.drop = event_list_drop;
    events.event = event_list_take;
    return events;
}

static inline void wait_for_events(struct event_list *list, size_t count)
{
    pthread_mutex_lock(&list->lock);
    while (list->count < count)
        pthread_cond_wait(&list->changed, &list->lock);
    pthread_mutex_unlock(&list->lock);
}

#endif
