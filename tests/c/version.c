/* The loaded library matches the header and names all its statuses. */
#include "host.h"

int main(void)
{
    check_begin();
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", AIRSSYS_VERSION_MAJOR, AIRSSYS_VERSION_MINOR,
             AIRSSYS_VERSION_PATCH);
    CHECK_TEXT(airssys_version(), version);
    CHECK_NUMBER(airssys_abi_version(), AIRSSYS_ABI_VERSION);

    /* Names and values are pinned: programs have them compiled in and in their logs. */
#define PINNED(status, value)                             \
    do {                                                  \
        CHECK_NUMBER(status, value);                      \
        CHECK_TEXT(airssys_status_name(status), #status); \
    } while (0)
    PINNED(AIRSSYS_OK, 0);
    PINNED(AIRSSYS_ERROR_INVALID_ARGUMENT, 1);
    PINNED(AIRSSYS_ERROR_INVALID_ID, 2);
    PINNED(AIRSSYS_ERROR_INVALID_OPTIONS, 3);
    PINNED(AIRSSYS_ERROR_INVALID_COMPONENT, 4);
    PINNED(AIRSSYS_ERROR_INSTANTIATION_FAILED, 5);
    PINNED(AIRSSYS_ERROR_INITIALIZATION_FAILED, 6);
    PINNED(AIRSSYS_ERROR_COMPONENT_NOT_FOUND, 7);
    PINNED(AIRSSYS_ERROR_EXPORT_NOT_FOUND, 8);
    PINNED(AIRSSYS_ERROR_TIMEOUT, 9);
    PINNED(AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, 10);
    PINNED(AIRSSYS_ERROR_RUNTIME, 11);
    PINNED(AIRSSYS_ERROR_TRAP, 12);
    PINNED(AIRSSYS_ERROR_QUEUE_FULL, 13);
    PINNED(AIRSSYS_ERROR_WOULD_DEADLOCK, 14);
    PINNED(AIRSSYS_ERROR_SHUTDOWN_FAILED, 15);
    PINNED(AIRSSYS_ERROR_ENGINE_STOPPED, 16);
    PINNED(AIRSSYS_ERROR_FORKED, 17);
    PINNED(AIRSSYS_ERROR_PANIC, 18);
    PINNED(AIRSSYS_ERROR_IO, 19);
    PINNED(AIRSSYS_ERROR_INVALID_MESSAGE, 20);
    PINNED(AIRSSYS_ERROR_REQUEST_NOT_FOUND, 21);
    PINNED(AIRSSYS_ERROR_CANCELLED, 22);
    PINNED(AIRSSYS_ERROR_DELIVERY_FAILED, 23);
    PINNED(AIRSSYS_ERROR_INTERRUPTED, 24);
    PINNED(AIRSSYS_ERROR_COMPONENT_STOPPED, 25);
    PINNED(AIRSSYS_ERROR_COMPONENT_FAILED, 26);
    PINNED(AIRSSYS_ERROR_UNSUPPORTED, 27);
    PINNED(AIRSSYS_ERROR_NOT_CONFORMING, 28);
    PINNED(AIRSSYS_ERROR_CANARY_UNDER_WAY, 29);

    /* Fails if a new status has no line above. */
    CHECK_TEXT(airssys_status_name(30), "AIRSSYS_ERROR_UNKNOWN");
    CHECK_TEXT(airssys_status_name(-1), "AIRSSYS_ERROR_UNKNOWN");
    CHECK_TEXT(airssys_status_name(INT32_MAX), "AIRSSYS_ERROR_UNKNOWN");
    CHECK_TEXT(airssys_status_name(INT32_MIN), "AIRSSYS_ERROR_UNKNOWN");

    /* Values that engines exchange. */
    CHECK_NUMBER(AIRSSYS_KIND_MESSAGE, 0);
    CHECK_NUMBER(AIRSSYS_KIND_REQUEST, 1);

    /* A handle that no component has. */
    CHECK(AIRSSYS_ALL_COMPONENTS == UINT64_MAX);

    /* Values in audit records. */
    CHECK_NUMBER(AIRSSYS_AUDIT_ALLOWED, 1);
    CHECK_NUMBER(AIRSSYS_AUDIT_DENIED, 2);
    CHECK_NUMBER(AIRSSYS_AUDIT_LOST, 3);
    return check_done();
}
