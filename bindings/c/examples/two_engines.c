/*
 * Two engines in one process. A component of one sends messages to a component of the other.
 *
 *     two_engines directory-of-components
 *
 * The library opens no connections. Mail to an id that is not loaded goes to the engine's router, a
 * callback of this program. The router here delivers the mail to the other engine. Between processes
 * it would write the envelope to a socket; the rest would be the same.
 */
#include <airssys_wasm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The error of the latest failed call. Only the main thread uses it. */
static airssys_error_t *error;

/* Exits if a function of the library failed. */
static void must(airssys_status_t status, const char *what)
{
    if (status != AIRSSYS_OK) {
        fprintf(stderr, "cannot %s: %s (%s)\n", what, airssys_error_message(error),
                airssys_status_name(status));
        airssys_error_free(error);
        exit(1);
    }
}

struct world {
    airssys_engine_t *left, *right;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int answered;
};

/* A request under way. The left engine knows it by its token. */
struct request {
    struct world *world;
    uint64_t token;
};

/* Passes the outcome of a request from the right engine back to the left, unchanged. */
static void bring_back(void *user_data, const airssys_completion_t *completion)
{
    struct request *request = user_data;
    struct world *world = request->world;
    const char *message =
        completion->error != NULL ? airssys_error_message(completion->error) : NULL;
    /* This fails if the deadline has passed and nobody waits any more. That is harmless. */
    airssys_engine_complete(world->left, request->token, completion->status, completion->reply,
                            completion->reply_len, message, NULL);
    free(request);

    pthread_mutex_lock(&world->lock);
    world->answered++;
    pthread_cond_signal(&world->changed);
    pthread_mutex_unlock(&world->lock);
}

/* Takes mail from a component of the left engine to an id that is not loaded there. */
static void route(void *user_data, const airssys_envelope_t *envelope, airssys_writer_t *answer)
{
    struct world *world = user_data;
    struct request *request = NULL;
    airssys_error_t *refusal = NULL;
    printf("%s -> %s: %.*s\n", envelope->source, envelope->target, (int)envelope->payload_len,
           envelope->payload != NULL ? (const char *)envelope->payload : "");
    if (envelope->kind == AIRSSYS_KIND_REQUEST) {
        request = malloc(sizeof *request);
        if (request == NULL)
            return; /* No answer: the component sees that the request was not delivered. */
        request->world = world;
        request->token = envelope->token;
    }

    airssys_status_t status =
        airssys_engine_deliver(world->right, envelope, bring_back, request, NULL, &refusal);
    if (status != AIRSSYS_OK) {
        const char *reason = airssys_error_message(refusal);
        airssys_writer_write(answer, (const uint8_t *)reason, strlen(reason));
        free(request); /* `bring_back` runs only for an accepted request. */
    }
    airssys_error_free(refusal);
    airssys_writer_finish(answer, status);
}

static airssys_engine_t *new_engine(const airssys_config_t *config)
{
    airssys_engine_t *engine = NULL;
    must(airssys_engine_new(config, &engine, &error), "make an engine");
    return engine;
}

static uint64_t load(airssys_engine_t *engine, const char *id, const char *directory,
                     const char *name, const char *options)
{
    char path[4096];
    uint64_t handle = 0;
    snprintf(path, sizeof path, "%s/%s.wasm", directory, name);
    must(airssys_engine_load_file(engine, id, path, options, &handle, &error),
         "load a component");
    return handle;
}

/* Sends a command to a component and prints the reply. False if the reply is an error. */
static bool tell(airssys_engine_t *engine, uint64_t handle, const char *command)
{
    airssys_bytes_t reply = {0};
    must(airssys_engine_call(engine, handle, (const uint8_t *)command, strlen(command), NULL,
                             &reply, &error),
         "call a component");
    printf("%s\n  %.*s\n", command, (int)reply.len,
           reply.data != NULL ? (const char *)reply.data : "");
    bool failed = reply.len > 5 && memcmp(reply.data, "error", 5) == 0;
    airssys_bytes_free(&reply);
    return !failed;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s directory-of-components\n", argv[0]);
        return 2;
    }
    struct world world = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    airssys_config_t *config = NULL;
    airssys_router_t router = {.size = sizeof router, .user_data = &world, .route = route};
    must(airssys_config_new(&config, &error), "make a configuration");
    must(airssys_config_set_router(config, &router, &error), "set the router");
    world.left = new_engine(config);
    world.right = new_engine(NULL);
    airssys_config_free(config);

    /* Sending needs a grant, even to another engine. The grant is checked against the id before
     * anybody looks for the receiver: only a granted sender learns that the id is unknown. `echo`
     * needs no grant: it only replies. */
    uint64_t asker = load(world.left, "left/asker/0", argv[1], "requester",
                          "{\"capabilities\": {\"messaging\": {"
                          "  \"request\": [\"right/echo/0\"], \"send\": [\"right/nobody/0\"]}}}");
    load(world.right, "right/echo/0", argv[1], "echo", NULL);

    /* The component gets the id of its request at once, and the reply later, in a callback. */
    if (!tell(world.left, asker, "request right/echo/0 5000 is anybody there?"))
        return 1; /* Not granted or not delivered: no reply will come. */
    pthread_mutex_lock(&world.lock);
    while (world.answered == 0)
        pthread_cond_wait(&world.changed, &world.lock);
    pthread_mutex_unlock(&world.lock);
    tell(world.left, asker, "callbacks");
    tell(world.left, asker, "send right/nobody/0 hello");

    /* Shut the sending components down first. Free the left engine last: the right engine may still
     * return outcomes to it. */
    must(airssys_engine_shutdown(world.left, 5000, &error), "shut the left engine down");
    airssys_engine_free(world.right);
    airssys_engine_free(world.left);
    return 0;
}
