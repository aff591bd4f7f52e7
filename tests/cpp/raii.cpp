// The header in C++: owning wrappers, and lambdas as callbacks. Compiles as C++11 and later.
#include <airssys_wasm.h>

#include <cstdio>
#include <cstdlib>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

unsigned passed = 0, failed = 0;

void check(bool condition, const char *what, int line)
{
    if (condition) {
        passed++;
    } else {
        failed++;
        std::fprintf(stderr, "raii.cpp:%d: %s\n", line, what);
    }
}

#define CHECK(condition) check((condition), #condition, __LINE__)

// Owners for objects that C functions free.
struct Free {
    void operator()(airssys_config_t *config) const { airssys_config_free(config); }
    void operator()(airssys_engine_t *engine) const { airssys_engine_free(engine); }
    void operator()(airssys_error_t *error) const { airssys_error_free(error); }
};
using Config = std::unique_ptr<airssys_config_t, Free>;
using Engine = std::unique_ptr<airssys_engine_t, Free>;
using Error = std::unique_ptr<airssys_error_t, Free>;

struct Bytes : airssys_bytes_t {
    Bytes() : airssys_bytes_t() {}
    Bytes(const Bytes &) = delete;
    Bytes &operator=(const Bytes &) = delete;
    ~Bytes() { airssys_bytes_free(this); }
    std::string text() const { return std::string(reinterpret_cast<const char *>(data), len); }
};

// A store whose `drop` guarantees that it outlives its engine.
struct Store {
    std::mutex lock;
    std::map<std::pair<std::string, std::string>, std::string> values;
    bool *dropped;
};

struct Log {
    std::mutex lock;
    std::vector<std::string> lines;
};

airssys_storage_t storage_of(Store *store)
{
    airssys_storage_t storage = {};
    storage.size = sizeof storage;
    storage.user_data = store;
    storage.drop = [](void *data) {
        std::unique_ptr<Store> store(static_cast<Store *>(data));
        *store->dropped = true;
    };
    storage.get = [](void *data, const char *ns, const char *key, airssys_writer_t *out) {
        auto store = static_cast<Store *>(data);
        std::lock_guard<std::mutex> guard(store->lock);
        auto found = store->values.find({ns, key});
        if (found == store->values.end())
            return airssys_writer_finish(out, AIRSSYS_STORAGE_NOT_FOUND);
        const std::string &value = found->second;
        bool fits = airssys_writer_write(
            out, reinterpret_cast<const uint8_t *>(value.data()), value.size());
        airssys_writer_finish(out, fits ? AIRSSYS_STORAGE_OK : AIRSSYS_STORAGE_IO_ERROR);
    };
    storage.set = [](void *data, const char *ns, const char *key, const uint8_t *value, size_t len,
                     airssys_writer_t *out) {
        auto store = static_cast<Store *>(data);
        // No exception may leave a callback.
        try {
            std::lock_guard<std::mutex> guard(store->lock);
            store->values[{ns, key}].assign(reinterpret_cast<const char *>(value), len);
            airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
        } catch (...) {
            airssys_writer_finish(out, AIRSSYS_STORAGE_IO_ERROR);
        }
    };
    storage.del = [](void *data, const char *ns, const char *key, airssys_writer_t *out) {
        auto store = static_cast<Store *>(data);
        std::lock_guard<std::mutex> guard(store->lock);
        store->values.erase({ns, key});
        airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
    };
    storage.list = [](void *data, const char *ns, const char *prefix, airssys_keys_t *keys,
                      airssys_writer_t *out) {
        auto store = static_cast<Store *>(data);
        std::lock_guard<std::mutex> guard(store->lock);
        bool fits = true;
        for (const auto &entry : store->values)
            if (entry.first.first == ns && entry.first.second.find(prefix) == 0)
                fits = fits && airssys_keys_push(keys, entry.first.second.c_str());
        airssys_writer_finish(out, fits ? AIRSSYS_STORAGE_OK : AIRSSYS_STORAGE_IO_ERROR);
    };
    return storage;
}

airssys_logger_t logger_of(Log *log)
{
    airssys_logger_t logger = {};
    logger.size = sizeof logger;
    logger.user_data = log;
    logger.min_level = AIRSSYS_LOG_INFO;
    logger.log = [](void *data, const airssys_log_record_t *record) {
        auto log = static_cast<Log *>(data);
        std::lock_guard<std::mutex> guard(log->lock);
        log->lines.emplace_back(record->message, record->message_len);
    };
    return logger;
}

uint64_t load(const Engine &engine, const std::string &guest, const char *options = nullptr)
{
    const char *directory = std::getenv("AIRSSYS_GUESTS_DIR");
    std::string path = std::string(directory != nullptr ? directory : ".") + "/" + guest + ".wasm";
    uint64_t handle = 0;
    airssys_error_t *raw = nullptr;
    airssys_status_t status = airssys_engine_load_file(
        engine.get(), ("test/" + guest + "/0").c_str(), path.c_str(), options, &handle, &raw);
    Error error(raw);
    if (status != AIRSSYS_OK)
        std::fprintf(stderr, "%s\n", airssys_error_message(error.get()));
    CHECK(handle != 0);
    return handle;
}

// The reply, or the error's message.
std::string call(const Engine &engine, uint64_t handle, const std::string &text)
{
    Bytes reply;
    airssys_error_t *raw = nullptr;
    airssys_status_t status =
        airssys_engine_call(engine.get(), handle, reinterpret_cast<const uint8_t *>(text.data()),
                            text.size(), nullptr, &reply, &raw);
    Error error(raw);
    CHECK((status == AIRSSYS_OK) == (error == nullptr));
    return status == AIRSSYS_OK ? reply.text() : airssys_error_message(error.get());
}

// The reply of a request as a future, its error as an exception.
std::future<std::string> request(const Engine &engine, uint64_t handle, const std::string &text)
{
    std::unique_ptr<std::promise<std::string>> promise(new std::promise<std::string>);
    std::future<std::string> future = promise->get_future();
    airssys_reply_fn_t complete = [](void *data, const airssys_completion_t *completion) {
        // Called once, so it owns the promise.
        std::unique_ptr<std::promise<std::string>> owned(
            static_cast<std::promise<std::string> *>(data));
        if (completion->status == AIRSSYS_OK)
            owned->set_value(std::string(reinterpret_cast<const char *>(completion->reply),
                                         completion->reply_len));
        else
            owned->set_exception(std::make_exception_ptr(
                std::runtime_error(airssys_error_message(completion->error))));
    };
    uint64_t id = 0;
    airssys_error_t *raw = nullptr;
    airssys_status_t status = airssys_engine_request(
        engine.get(), handle, reinterpret_cast<const uint8_t *>(text.data()), text.size(), nullptr,
        complete, promise.get(), &id, &raw);
    Error error(raw);
    if (status != AIRSSYS_OK)
        throw std::runtime_error(airssys_error_message(error.get()));
    promise.release(); // `complete` deletes it.
    return future;
}

std::string what_of(std::future<std::string> future)
{
    try {
        return future.get();
    } catch (const std::runtime_error &error) {
        return error.what();
    }
}

void futures()
{
    airssys_config_t *raw_config = nullptr;
    airssys_engine_t *raw_engine = nullptr;
    Log log;
    CHECK(airssys_config_new(&raw_config, nullptr) == AIRSSYS_OK);
    Config config(raw_config);
    airssys_logger_t logger = logger_of(&log);
    CHECK(airssys_config_set_logger(config.get(), &logger, nullptr) == AIRSSYS_OK);
    CHECK(airssys_engine_new(config.get(), &raw_engine, nullptr) == AIRSSYS_OK);
    Engine engine(raw_engine);
    uint64_t echo = load(engine, "echo"), probe = load(engine, "probe");
    uint64_t trapper = load(engine, "trapper");

    std::vector<std::future<std::string>> replies;
    for (int i = 0; i < 100; i++)
        replies.push_back(request(engine, echo, std::to_string(i)));
    for (int i = 0; i < 100; i++)
        CHECK(replies[static_cast<size_t>(i)].get() == std::to_string(i));
    CHECK(what_of(request(engine, probe, "fail runtime-error ouch")).find("ouch") !=
          std::string::npos);
    CHECK(what_of(request(engine, trapper, "unreachable")).find("test/trapper/0") !=
          std::string::npos);
    bool thrown = false;
    try {
        request(engine, 0, "nobody");
    } catch (const std::runtime_error &) {
        thrown = true;
    }
    CHECK(thrown);

    // Open requests end with the engine.
    auto sleeper = request(engine, trapper, "sleep 3600000");
    auto behind = request(engine, trapper, "ok");
    engine.reset();
    CHECK(what_of(std::move(sleeper)).find("stopped") != std::string::npos);
    CHECK(what_of(std::move(behind)).find("stopped") != std::string::npos);
}

} // namespace

int main()
{
    static_assert(std::is_standard_layout<airssys_storage_t>::value, "a C struct");
    static_assert(std::is_standard_layout<airssys_log_record_t>::value, "a C struct");
    static_assert(std::is_standard_layout<airssys_completion_t>::value, "a C struct");
    static_assert(std::is_standard_layout<airssys_envelope_t>::value, "a C struct");
    static_assert(AIRSSYS_OK == 0, "constants are constant");
    static_assert(AIRSSYS_ALL_COMPONENTS > 0, "constants are constant");

    bool dropped = false;
    Log log;
    {
        airssys_config_t *raw_config = nullptr;
        CHECK(airssys_config_new(&raw_config, nullptr) == AIRSSYS_OK);
        Config config(raw_config);
        std::unique_ptr<Store> store(new Store);
        store->dropped = &dropped;
        airssys_storage_t storage = storage_of(store.get());
        if (airssys_config_set_storage(config.get(), &storage, nullptr) == AIRSSYS_OK)
            store.release(); // `drop` deletes it now.
        CHECK(store == nullptr);
        airssys_logger_t logger = logger_of(&log);
        CHECK(airssys_config_set_logger(config.get(), &logger, nullptr) == AIRSSYS_OK);

        airssys_engine_t *raw_engine = nullptr;
        CHECK(airssys_engine_new(config.get(), &raw_engine, nullptr) == AIRSSYS_OK);
        Engine engine(raw_engine);
        uint64_t echo = load(engine, "echo");
        // Without a grant its own storage is denied, too.
        const char *storing = R"({"capabilities": {"storage": ["read", "write", "delete"]}})";
        uint64_t user = load(engine, "storage-user", storing);
        uint64_t probe = load(engine, "probe"), chatty = load(engine, "chatty");

        CHECK(call(engine, echo, std::string("a\0b", 3)) == std::string("a\0b", 3));
        CHECK(call(engine, user, "set apple red") == "ok");
        CHECK(call(engine, user, "set apricot orange") == "ok");
        CHECK(call(engine, user, "get apple") == "red");
        CHECK(call(engine, user, "list ap") == "apple\napricot");
        CHECK(call(engine, user, "delete apple") == "ok");
        CHECK(call(engine, user, "exists apple") == "false");
        CHECK(call(engine, probe, "fail runtime-error ouch").find("ouch") != std::string::npos);
        CHECK(call(engine, 0, "nobody").find("handle") != std::string::npos);
        CHECK(call(engine, chatty, "log info hello from a guest") == "ok");
        CHECK(log.lines.size() == 1 && log.lines[0] == "hello from a guest");
        CHECK(!dropped);
    }
    CHECK(dropped);
    futures();

    std::printf("%u passed, %u failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
