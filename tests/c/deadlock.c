/* A cycle of callbacks across two engines is detected like one within an engine (see reentry.c). */
#include "calling_log.h"

int main(void)
{
    check_begin();
    struct log outer = {0}, inner = {0};
    airssys_engine_t *one = engine_on(&outer), *two = engine_on(&inner);
    (void)load(two, "echo"); /* Makes the handles differ. */
    outer.handle = load(two, "chatty");
    outer.other = two;
    inner.handle = load(one, "chatty");
    inner.other = one;
    CHECK(outer.handle != inner.handle);
    CHECK_REPLY(one, inner.handle, "log info outer", "ok");
    CHECK_OK(outer.status);
    CHECK_STATUS(inner.status, AIRSSYS_ERROR_WOULD_DEADLOCK);
    airssys_engine_free(one);
    airssys_engine_free(two);
    return check_done();
}
