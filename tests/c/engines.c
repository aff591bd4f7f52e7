/* Two engines in one process are independent, but may be used together. */
#include "calling_log.h"

/* A callback of one engine calls a component of the other, which nobody waits for. The numbers of
 * their handles mean nothing to each other, so it must work for equal and for different ones. */
static void calls_across(void)
{
    struct log outer = {0}, inner = {0};
    airssys_engine_t *one = engine_on(&outer), *two = engine_on(&inner);
    uint64_t first = load(one, "chatty");
    uint64_t targets[3];
    for (int i = 0; i < 3; i++)
        targets[i] = load(two, "chatty");
    outer.other = two;
    for (int i = 0; i < 3; i++) {
        outer.handle = targets[i];
        outer.status = -1;
        CHECK_REPLY(one, first, "log info outer", "ok");
        CHECK_OK(outer.status);
    }
    CHECK_NUMBER(outer.records, 3);
    CHECK_NUMBER(inner.records, 3);
    airssys_engine_free(one);
    airssys_engine_free(two);
}

int main(void)
{
    check_begin();
    airssys_engine_t *one = new_engine(), *two = new_engine();
    uint64_t user_one = load(one, "storage-user"), user_two = load(two, "storage-user");
    uint64_t counter_one = load(one, "counter"), counter_two = load(two, "counter"), found = 0;

    /* The same ids, each with its own storage and memory. */
    CHECK_REPLY(one, user_one, "set k one", "ok");
    CHECK_REPLY(two, user_two, "list", "");
    CHECK_REPLY(two, user_two, "set k two", "ok");
    CHECK_REPLY(one, user_one, "get k", "one");
    CHECK_REPLY(one, counter_one, "inc", "1");
    CHECK_REPLY(two, counter_two, "get", "0");

    /* One ends; the other works on. */
    CHECK_OK(airssys_engine_shutdown(one, 10000, NULL));
    CHECK_REPLY(two, user_two, "get k", "two");
    airssys_engine_free(one);
    CHECK_REPLY(two, counter_two, "inc", "1");
    CHECK_OK(airssys_engine_find(two, "test/counter/0", &found, NULL));
    CHECK_NUMBER(found, counter_two);

    /* A new engine starts empty. */
    one = new_engine();
    CHECK_STATUS(airssys_engine_find(one, "test/counter/0", &found, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    airssys_engine_free(one);
    airssys_engine_free(two);

    calls_across();
    return check_done();
}
