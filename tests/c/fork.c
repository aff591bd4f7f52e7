/* After a fork the child gets an error for its parent's engine and may create its own. */
#include "host.h"

#include <sys/wait.h>

static void must_not_come(void *user_data, const airssys_completion_t *completion)
{
    (void)user_data, (void)completion;
    CHECK(!"called");
}

/* Every function of an engine must refuse. */
static void check_forked(airssys_engine_t *engine, uint64_t handle)
{
    uint64_t out = 0;
    airssys_bytes_t bytes = {0};
    airssys_error_t *error = NULL;
    char path[4096];
    guest_path("echo", path, sizeof path);
    CHECK_STATUS(call(engine, handle, "hello", &bytes, &error), AIRSSYS_ERROR_FORKED);
    CHECK_CONTAINS(airssys_error_message(error), "fork");
    airssys_error_free(error);
    CHECK_STATUS(airssys_engine_send(engine, handle, NULL, 0, NULL, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_request(engine, handle, NULL, 0, NULL, must_not_come, NULL, &out,
                                        NULL),
                 AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_cancel(engine, 1, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_broadcast(engine, &handle, 1, NULL, 0, NULL, NULL),
                 AIRSSYS_ERROR_FORKED);
    airssys_envelope_t envelope = {0};
    envelope.size = sizeof envelope;
    envelope.source = "a/b/c";
    envelope.target = "test/echo/0";
    CHECK_STATUS(airssys_engine_deliver(engine, &envelope, NULL, NULL, NULL, NULL),
                 AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_complete(engine, 1, AIRSSYS_OK, NULL, 0, NULL, NULL),
                 AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_load_file(engine, "a/b/c", path, NULL, &out, NULL),
                 AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_precompile(engine, NULL, 0, NULL, NULL, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_load(engine, "a/b/c", NULL, 0, NULL, &out, NULL),
                 AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_unload(engine, handle, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_unload_within(engine, handle, 0, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_interrupt(engine, handle, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_stop(engine, handle, 0, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_start(engine, handle, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_status(engine, handle, &bytes, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_restart(engine, handle, 0, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_wait(engine, handle, "running", 0, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_replace(engine, handle, NULL, 0, NULL, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_replace_file(engine, handle, path, NULL, NULL),
                 AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_rollback(engine, handle, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_find(engine, "test/echo/0", &out, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_list(engine, &bytes, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_describe(engine, handle, &bytes, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_inspect(engine, handle, &bytes, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_health(engine, handle, &bytes, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_health(engine, AIRSSYS_ALL_COMPONENTS, &bytes, NULL),
                 AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_stats(engine, &bytes, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_storage_compact(engine, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_set_policies(engine, "{}", NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_grant(engine, handle, "{}", NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_revoke(engine, handle, NULL, NULL), AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_explain(engine, handle, "log.write", "", &bytes, NULL),
                 AIRSSYS_ERROR_FORKED);
    CHECK_STATUS(airssys_engine_shutdown(engine, 1000, NULL), AIRSSYS_ERROR_FORKED);
}

static void make_and_use_one(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t echo = load(engine, "echo"), trapper = load(engine, "trapper");
    CHECK_REPLY(engine, echo, "child", "child");
    CHECK_FAILS(engine, trapper, "oob", AIRSSYS_ERROR_TRAP, "test/trapper/0");
    CHECK_FAILS(engine, trapper, "recurse", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "stack");
    CHECK_REPLY(engine, trapper, "sleep 5", "ok");
    airssys_engine_free(engine);
}

#ifdef __SANITIZE_ADDRESS__
#include <dirent.h>

/* GCC's sanitizer forks with the locks of its allocator as they are: a child hangs if another thread
 * allocates at that moment. Waits until all others sleep, those that compiled have ended included. */
static void wait_for_rest(void)
{
    for (bool busy = true; busy;) {
        char path[300], line[512];
        DIR *tasks = opendir("/proc/self/task");
        REQUIRE(tasks != NULL);
        sched_yield();
        busy = false;
        for (const struct dirent *task; (task = readdir(tasks)) != NULL;) {
            snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
            FILE *file = task->d_name[0] == '.' || atoi(task->d_name) == getpid() ? NULL : fopen(path, "r");
            if (file == NULL)
                continue;
            const char *state = fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
            busy = busy || state == NULL || state[2] != 'S';
            fclose(file);
        }
        closedir(tasks);
    }
}
#else
static void wait_for_rest(void)
{
}
#endif

/* Runs `child` in a child process and checks its exit. */
static void in_child(void (*child)(airssys_engine_t *engine, uint64_t handle),
                     airssys_engine_t *engine, uint64_t handle)
{
    int status = 0;
    fflush(stdout);
    wait_for_rest();
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        check_passed = check_failed = 0;
        alarm(20); /* Alarms are not inherited. */
        child(engine, handle);
        /* Nothing of the parent is torn down: its threads do not exist in the child. */
        _exit(check_failed > 0 || check_passed == 0);
    }
    REQUIRE(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status));
    CHECK_NUMBER(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), 0);
}

static void refused_then_own(airssys_engine_t *engine, uint64_t handle)
{
    check_forked(engine, handle);
    make_and_use_one();
    check_forked(engine, handle);
    airssys_engine_free(engine);
    make_and_use_one();
}

static void grandchild(airssys_engine_t *engine, uint64_t handle)
{
    check_forked(engine, handle);
    airssys_engine_t *own = new_engine();
    uint64_t echo = load(own, "echo");
    in_child(refused_then_own, own, echo);
    CHECK_REPLY(own, echo, "still", "still");
    airssys_engine_free(own);
}

static void only_own(airssys_engine_t *engine, uint64_t handle)
{
    (void)engine, (void)handle;
    make_and_use_one();
}

#ifndef __SANITIZE_ADDRESS__
/* Keeps the library's locks busy while the process forks. */
struct busy {
    airssys_engine_t *engine;
    uint64_t trapper;
    pthread_mutex_t lock;
    bool stop;
};

static void *keep_busy(void *argument)
{
    struct busy *busy = argument;
    for (bool stop = false; !stop;) {
        airssys_bytes_t reply = {0};
        /* Recorded only on failure, because the number of runs is random. */
        if (call(busy->engine, busy->trapper, "oob", &reply, NULL) != AIRSSYS_ERROR_TRAP)
            CHECK(!"a trap");
        uint64_t minimal = load_as(busy->engine, "test/minimal/0", "minimal", NULL);
        if (airssys_engine_unload(busy->engine, minimal, NULL) != AIRSSYS_OK)
            CHECK(!"an unload");
        pthread_mutex_lock(&busy->lock);
        stop = busy->stop;
        pthread_mutex_unlock(&busy->lock);
    }
    return NULL;
}
#endif

int main(void)
{
    check_begin();

    /* A fork before the first engine does not affect the library. */
    in_child(only_own, NULL, 0);

    airssys_engine_t *engine = new_engine();
    uint64_t echo = load(engine, "echo");
    CHECK_REPLY(engine, echo, "parent", "parent");
    in_child(refused_then_own, engine, echo);
    in_child(grandchild, engine, echo);
    CHECK_REPLY(engine, echo, "parent", "parent");

    /* Not under AddressSanitizer, whose allocator's locks do not survive such a fork. */
#ifndef __SANITIZE_ADDRESS__
    struct busy busy = {0};
    pthread_t thread;
    pthread_mutex_init(&busy.lock, NULL);
    busy.engine = engine;
    busy.trapper = load(engine, "trapper");
    REQUIRE(pthread_create(&thread, NULL, keep_busy, &busy) == 0);
    for (int i = 0; i < 8; i++)
        in_child(only_own, NULL, 0);
    pthread_mutex_lock(&busy.lock);
    busy.stop = true;
    pthread_mutex_unlock(&busy.lock);
    REQUIRE(pthread_join(thread, NULL) == 0);
#endif

    CHECK_REPLY(engine, echo, "parent", "parent");
    airssys_engine_free(engine);
    return check_done();
}
