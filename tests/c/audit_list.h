/* Keeps the decisions that an engine records. */
#ifndef AUDIT_LIST_H
#define AUDIT_LIST_H

#include "host.h"

#define DECISIONS_KEPT 64

struct audit_list {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* All records that came; the first of them are kept. */
    size_t count;
    struct {
        int32_t decision;
        /* The texts, in the form `component action resource: by: rule`. */
        char text[512];
    } records[DECISIONS_KEPT];
    /* How many came of each decision, and what the last record of losses says. */
    unsigned allowed, denied, lost;
    uint64_t lost_allowed, lost_denied;
    /* How many are told at this moment, and the most that were. */
    unsigned inside, most_inside;
    /* Whether the callback waits. */
    bool held;
    unsigned drops;
};

#define AUDIT_LIST {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}

static inline void audit_list_take(void *user_data, const airssys_audit_record_t *record)
{
    struct audit_list *list = user_data;
    pthread_mutex_lock(&list->lock);
    if (++list->inside > list->most_inside)
        list->most_inside = list->inside;
    CHECK_NUMBER(record->size, sizeof *record);
    if (record->decision == AIRSSYS_AUDIT_LOST) {
        CHECK(record->component == NULL && record->action == NULL && record->resource == NULL);
        CHECK(record->by == NULL && record->rule == NULL);
        list->lost++;
        list->lost_allowed = record->lost_allowed;
        list->lost_denied = record->lost_denied;
    } else {
        CHECK(record->decision == AIRSSYS_AUDIT_ALLOWED || record->decision == AIRSSYS_AUDIT_DENIED);
        CHECK(record->lost_allowed == 0 && record->lost_denied == 0);
        CHECK(record->seconds > 0 && record->nanoseconds < 1000000000);
        *(record->decision == AIRSSYS_AUDIT_ALLOWED ? &list->allowed : &list->denied) += 1;
        if (list->count < DECISIONS_KEPT) {
            list->records[list->count].decision = record->decision;
            snprintf(list->records[list->count].text, sizeof list->records[list->count].text,
                     "%s %s %s: %s: %s", record->component, record->action, record->resource,
                     record->by, record->rule);
        }
    }
    list->count++;
    pthread_cond_broadcast(&list->changed);
    while (list->held)
        pthread_cond_wait(&list->changed, &list->lock);
    list->inside--;
    pthread_mutex_unlock(&list->lock);
}

static inline void audit_list_drop(void *user_data)
{
    struct audit_list *list = user_data;
    pthread_mutex_lock(&list->lock);
    CHECK_NUMBER(list->inside, 0);
    list->drops++;
    pthread_cond_broadcast(&list->changed);
    pthread_mutex_unlock(&list->lock);
}

static inline airssys_audit_t audit_to(struct audit_list *list, uint32_t sample_allowed)
{
    airssys_audit_t audit = {0};
    audit.size = sizeof audit;
    audit.user_data = list;
    audit.drop = audit_list_drop;
    audit.record = audit_list_take;
    audit.sample_allowed = sample_allowed;
    return audit;
}

/* An engine whose components may do nothing but what their loads grant, and whose decisions are
 * recorded. */
static inline airssys_engine_t *engine_recording(struct audit_list *list, uint32_t sample_allowed)
{
    airssys_config_t *config = new_strict_config();
    airssys_audit_t audit = audit_to(list, sample_allowed);
    REQUIRE(airssys_config_set_audit(config, &audit, NULL) == AIRSSYS_OK);
    return silent_engine(config);
}

static inline void hold_records(struct audit_list *list, bool held)
{
    pthread_mutex_lock(&list->lock);
    list->held = held;
    pthread_cond_broadcast(&list->changed);
    pthread_mutex_unlock(&list->lock);
}

/* Waits until so many have come, or none can come any more. */
static inline void wait_for_records(struct audit_list *list, size_t count)
{
    pthread_mutex_lock(&list->lock);
    while (list->count < count && list->drops == 0)
        pthread_cond_wait(&list->changed, &list->lock);
    pthread_mutex_unlock(&list->lock);
}

/* Waits for record number `at`, and compares. */
static inline void check_recorded(struct audit_list *list, size_t at, int32_t decision,
                                  const char *text, const char *file, int line)
{
    REQUIRE(at < DECISIONS_KEPT);
    wait_for_records(list, at + 1);
    pthread_mutex_lock(&list->lock);
    check_text(list->records[at].text, text, file, line, "what was recorded");
    check_number(list->records[at].decision, decision, file, line, "the decision");
    pthread_mutex_unlock(&list->lock);
}

#define CHECK_RECORDED(list, at, decision, text) \
    check_recorded((list), (at), AIRSSYS_AUDIT_##decision, (text), __FILE__, __LINE__)

#endif
