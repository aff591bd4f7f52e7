/* The host's own faults reach the host, and its other signals are untouched. */
/* MAP_ANONYMOUS, which POSIX has only since 2024. */
#define _DEFAULT_SOURCE

#include "host.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static sigjmp_buf after_fault;
static volatile sig_atomic_t handled;

static void on_fault(int signal)
{
    handled = signal;
    siglongjmp(after_fault, 1);
}

/* Reads a page that may not be read. Not NULL, which a compiler may reason about. */
static void fault(void)
{
    volatile char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    handled = 0;
    if (sigsetjmp(after_fault, 1) == 0)
        (void)*page;
    CHECK_NUMBER(handled, SIGSEGV);
    munmap((void *)page, 4096);
}

static void *fault_on_thread(void *argument)
{
    (void)argument;
    fault();
    return NULL;
}

static void traps(airssys_engine_t *engine, uint64_t trapper)
{
    CHECK_FAILS(engine, trapper, "oob", AIRSSYS_ERROR_TRAP, "out of bounds");
    CHECK_FAILS(engine, trapper, "div0", AIRSSYS_ERROR_TRAP, "divide by zero");
    CHECK_FAILS(engine, trapper, "unreachable", AIRSSYS_ERROR_TRAP, "unreachable");
    CHECK_FAILS(engine, trapper, "recurse", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "stack");
}

static bool same_handler(int signal, const struct sigaction *before)
{
    struct sigaction now;
    sigaction(signal, NULL, &now);
    return now.sa_handler == before->sa_handler && now.sa_flags == before->sa_flags;
}

int main(void)
{
    check_begin();
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_fault;
    sigemptyset(&action.sa_mask);
    REQUIRE(sigaction(SIGSEGV, &action, NULL) == 0);

    /* Without signals nothing is installed. */
    airssys_config_t *config = new_config();
    REQUIRE(airssys_config_set_json(config, "{\"signals-based-traps\": false}", NULL) == AIRSSYS_OK);
    sigaction(SIGSEGV, NULL, &before);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    uint64_t trapper = load(engine, "trapper");
    traps(engine, trapper);
    CHECK(same_handler(SIGSEGV, &before));
    fault();
    airssys_engine_free(engine);

    /* With signal handlers each side gets its own faults, between traps too and on every thread. */
    struct sigaction pipe, interrupt, terminate, child;
    sigaction(SIGPIPE, NULL, &pipe);
    sigaction(SIGINT, NULL, &interrupt);
    sigaction(SIGTERM, NULL, &terminate);
    sigaction(SIGCHLD, NULL, &child);
    engine = new_engine();
    trapper = load(engine, "trapper");
    CHECK(!same_handler(SIGSEGV, &before));
    fault();
    traps(engine, trapper);
    fault();
    traps(engine, trapper);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, fault_on_thread, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_REPLY(engine, trapper, "ok", "ok");
    CHECK(same_handler(SIGPIPE, &pipe));
    CHECK(same_handler(SIGINT, &interrupt));
    CHECK(same_handler(SIGTERM, &terminate));
    CHECK(same_handler(SIGCHLD, &child));

    /* The host's faults also reach it after the engine is freed. */
    airssys_engine_free(engine);
    fault();

    return check_done();
}
