/*
 * Calls from threads with small stacks, and from a coroutine: guests have stacks of their own
 * there. One that imports nothing uses its caller's where that is large.
 *
 *     stack            the test
 *     stack measure    prints how much stack each operation takes
 */
/* MAP_ANONYMOUS, which POSIX has only since 2024. */
#define _DEFAULT_SOURCE

#include "host.h"

#include <sys/mman.h>
#include <ucontext.h>

/* What the header promises for a call to an idle component: 64 KiB, unless run.sh knows that the
 * library is an unoptimized one, with larger frames. */
static size_t promised(void)
{
    const char *kib = getenv("AIRSSYS_STACK_KIB");
    return (kib != NULL ? (size_t)atoi(kib) : 64) * 1024;
}

/* Large enough for anything. A pattern shows how deep it was used. */
#define MEASURED_STACK (4u * 1024 * 1024)
#define PATTERN 0xA5

/* Too small for a guest. */
#define SMALL_STACK (512u * 1024)

/* How much stack a guest may use. */
#define GUEST_STACK (512u * 1024)

struct job {
    void (*run)(struct job *job);
    airssys_engine_t *engine;
    uint64_t handle;
    const char *text;
    airssys_status_t expected;
};

static void run_nothing(struct job *job)
{
    (void)job;
}

static void run_call(struct job *job)
{
    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;
    CHECK_STATUS(call(job->engine, job->handle, job->text, &reply, &error), job->expected);
    airssys_error_free(error);
    airssys_bytes_free(&reply);
}

static void run_load(struct job *job)
{
    uint64_t handle = load(job->engine, job->text);
    CHECK_OK(airssys_engine_unload(job->engine, handle, NULL));
}

static void run_new(struct job *job)
{
    (void)job;
    airssys_engine_free(new_engine());
}

static void run_configure(struct job *job)
{
    airssys_config_t *config = new_config();
    airssys_error_t *error = NULL;
    CHECK_OK(airssys_config_set_json(config, "{\"limits\": {\"max-fuel\": 1000}}", NULL));
    CHECK_STATUS(airssys_config_set_json(config, "{\"limit\": 1}", &error),
                 AIRSSYS_ERROR_INVALID_OPTIONS);
    airssys_error_free(error);
    airssys_config_free(config);
    (void)job;
}

static void *thread_main(void *argument)
{
    struct job *job = argument;
    job->run(job);
    return NULL;
}

static uint8_t *new_stack(size_t size)
{
    uint8_t *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(stack != MAP_FAILED);
    memset(stack, PATTERN, size);
    return stack;
}

/* How many bytes of a stack were touched. */
static size_t touched(const uint8_t *stack, size_t size)
{
    size_t untouched = 0;
    while (untouched < size && stack[untouched] == PATTERN)
        untouched++;
    return size - untouched;
}

/* Runs a job on a thread with a stack of our own and returns how many bytes of it were touched. */
static size_t stack_used(struct job *job, size_t size)
{
    uint8_t *stack = new_stack(size);
    pthread_attr_t attributes;
    pthread_t thread;
    REQUIRE(pthread_attr_init(&attributes) == 0);
    REQUIRE(pthread_attr_setstack(&attributes, stack, size) == 0);
    REQUIRE(pthread_create(&thread, &attributes, thread_main, job) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    pthread_attr_destroy(&attributes);
    size_t used = touched(stack, size);
    munmap(stack, size);
    return used;
}

/* Runs a job on a coroutine of this thread, and returns how many bytes of its stack were touched. */
static struct job *coroutine_job;

static void coroutine_main(void)
{
    coroutine_job->run(coroutine_job);
}

static size_t coroutine_stack_used(struct job *job, size_t size)
{
    uint8_t *stack = new_stack(size);
    ucontext_t here, coroutine;
    REQUIRE(getcontext(&coroutine) == 0);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = size;
    coroutine.uc_link = &here;
    coroutine_job = job;
    makecontext(&coroutine, coroutine_main, 0);
    REQUIRE(swapcontext(&here, &coroutine) == 0);
    size_t used = touched(stack, size);
    munmap(stack, size);
    return used;
}

/* Runs a job on a thread that has no more than the promise asks for, with a guard page below. */
static void on_small_stack(struct job *job)
{
    pthread_attr_t attributes;
    pthread_t thread;
    size_t size = (size_t)sysconf(_SC_THREAD_STACK_MIN) + promised();
    REQUIRE(pthread_attr_init(&attributes) == 0);
    REQUIRE(pthread_attr_setstacksize(&attributes, (size + 4095) / 4096 * 4096) == 0);
    REQUIRE(pthread_create(&thread, &attributes, thread_main, job) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    pthread_attr_destroy(&attributes);
}

int main(int argc, char **argv)
{
    check_begin();
    bool measure = argc > 1 && strcmp(argv[1], "measure") == 0;
    (void)argv;

    airssys_engine_t *engine = new_engine();
    struct {
        const char *what;
        bool promised;
        struct job job;
    } jobs[] = {
        {"call", true, {run_call, engine, load(engine, "echo"), "hello", AIRSSYS_OK}},
        {"call, storage in memory", true, {run_call, engine, load(engine, "storage-user"), "list", AIRSSYS_OK}},
        {"call, a request", true, {run_call, engine, load(engine, "requester"), "request test/echo/0 1000 x", AIRSSYS_OK}},
        {"call, WASI", true, {run_call, engine, load(engine, "wasi"), "list-dir /", AIRSSYS_OK}},
        {"call, 5 MB", true, {run_call, engine, load(engine, "probe"), "blob 5000000", AIRSSYS_OK}},
        {"call, an error", true, {run_call, engine, load(engine, "probe"), "fail runtime-error x", AIRSSYS_ERROR_RUNTIME}},
        {"call, sleeps", true, {run_call, engine, load(engine, "trapper"), "sleep 5", AIRSSYS_OK}},
        {"call, computes", true, {run_call, engine, load(engine, "trapper"), "spin 30000000", AIRSSYS_OK}},
        {"call, traps", true, {run_call, engine, load(engine, "trapper"), "unreachable", AIRSSYS_ERROR_TRAP}},
        {"call, out of bounds", true, {run_call, engine, load(engine, "trapper"), "oob", AIRSSYS_ERROR_TRAP}},
        {"call, recurses", true, {run_call, engine, load(engine, "trapper"), "recurse", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED}},
        {"call, after a crash", true, {run_call, engine, 0, "ok", AIRSSYS_OK}},
        {"call, imports nothing", true, {run_call, engine, load(engine, "hermit"), "ok", AIRSSYS_OK}},
        {"load, known binary", false, {run_load, engine, 0, "echo", AIRSSYS_OK}},
        {"load, first", false, {run_load, engine, 0, "counter", AIRSSYS_OK}},
        {"load, first, WASI", false, {run_load, engine, 0, "chatty", AIRSSYS_OK}},
        {"configure", false, {run_configure, engine, 0, NULL, AIRSSYS_OK}},
        {"engine_new, engine_free", false, {run_new, engine, 0, NULL, AIRSSYS_OK}},
    };
    const size_t count = sizeof jobs / sizeof *jobs;
    struct job nothing = {run_nothing, NULL, 0, NULL, AIRSSYS_OK};

    /* What a thread takes by itself: its thread-local storage is on its stack. */
    size_t base = stack_used(&nothing, MEASURED_STACK);
    if (measure)
        printf("%-26s %6zu bytes; the system's minimum is %ld\n", "nothing", base, sysconf(_SC_THREAD_STACK_MIN));

    for (size_t i = 0; i < count; i++) {
        struct job *job = &jobs[i].job;
        if (job->handle == 0)
            job->handle = jobs[i - 1].job.handle; /* The component that has just crashed. */
        size_t used = stack_used(job, MEASURED_STACK) - base;
        if (measure)
            printf("%-26s %6zu bytes\n", jobs[i].what, used);
        else if (jobs[i].promised) {
            char came[32];
            snprintf(came, sizeof came, "%zu bytes", used);
            check_record(used <= promised(), __FILE__, __LINE__, jobs[i].what, "what the header promises", came);
        }
    }

    /* Not only measured: really small, where one byte too many ends the program. */
    if (!measure)
        for (size_t i = 0; i < count; i++)
            if (jobs[i].promised)
                on_small_stack(&jobs[i].job);

    /* A guest that imports nothing is on its caller's stack where that is large, and nowhere else. */
    struct job recurse = {run_call, engine, load(engine, "hermit"), "recurse", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED};
    size_t large = stack_used(&recurse, MEASURED_STACK) - base;
    size_t small = stack_used(&recurse, SMALL_STACK) - base;
    size_t coroutine = coroutine_stack_used(&recurse, MEASURED_STACK);
    if (measure)
        printf("recursion without imports: on a large stack %zu bytes, on a small one %zu, on a coroutine's %zu\n",
               large, small, coroutine);
    CHECK(large > GUEST_STACK && large < GUEST_STACK + GUEST_STACK / 4);
    CHECK(small <= promised());
    CHECK(coroutine <= promised());
    airssys_engine_free(engine);
    return measure ? 0 : check_done();
}
