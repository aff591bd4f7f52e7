/*
 * The reference of the JSON documents. All members are optional, unless noted. Examples show the
 * defaults. An unknown or duplicate key is an error that names the place and, for an unknown key,
 * the nearest known one. The JSON schema of all documents, airssys_wasm.schema.json, is installed
 * in share/airssys-wasm.
 *
 *
 * CONFIGURATION: airssys_config_set_json
 *
 *     {
 *       "name": "engine",                 the host, as a sender, is host/<name>/0
 *       "workers": 2,                     threads that run components, 1 to 1024; default: cores.
 *                                         As many threads of lower priority, made when needed, run
 *                                         components that compute for more than 2 ms
 *       "callback-threads": 1024,         limit of the threads for callbacks that components wait
 *                                         for, and of those for all others, 1 to 65536; see THREADS
 *       "cache-dir": "/path",             keeps compiled components between runs, see below;
 *                                         default: none
 *       "cache-max-bytes": 1073741824,    size of the cache; least recently used entries go first
 *       "max-component-bytes": 67108864,  size of a binary
 *       "compile": { ... },               see below
 *       "signals-based-traps": true,      false: no signal handlers (see SIGNALS), slower guests
 *       "memory-reservation": "automatic",  address space for each memory, see below
 *       "guard-before-memory": true,      false: a component that may wait takes 3 of the mappings
 *                                         that the system allows a process (vm.max_map_count), not
 *                                         4, and lacks a defence in depth against compiler bugs
 *       "host-error-texts": false,        true: components receive the error texts of storage and
 *                                         router callbacks. false: the texts go to the log, and
 *                                         the component learns only that the callback failed
 *       "limits": { ... },                defaults for loads, see LOAD
 *       "quotas": { ... },                defaults for loads, see LOAD
 *       "supervision": { ... },           default for loads, see LOAD; default: none
 *       "max-live-instances": 1000,       of components that may become passive: beyond it, those
 *                                         that were not used for longest do; default: no limit
 *       "trusted-keys": ["64 digits"],    public keys of those who may sign binaries, at most 256,
 *                                         see SIGNATURES; default: none
 *       "require-signature": false,       true: binaries without a signature are refused
 *       "capabilities": { ... },          for loads that name none, see CAPABILITIES; default: none
 *       "storage": { "path": "/path" },   keeps what components store in a file, see STORAGE;
 *                                         default: in memory
 *       "policies": { "rules": [] }       see POLICIES
 *     }
 *
 * "compile" bounds the compilation of a binary. A component beyond a limit is not loaded:
 *
 *     "compile": {
 *                                         beyond it AIRSSYS_ERROR_TIMEOUT:
 *       "max-time-ms": 300000,
 *                                         beyond them AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED:
 *       "max-memory-bytes": 2147483648,   an estimate, of all concurrent compilations together
 *       "max-code-bytes": 268435456,      with initial memories and tables
 *                                         beyond them AIRSSYS_ERROR_INVALID_COMPONENT:
 *       "max-functions": 100000,          in all modules
 *       "max-function-bytes": 4194304,
 *       "max-function-blocks": 65536,     blocks, branches, and targets of branch tables
 *       "max-block-depth": 5000,          nesting of blocks
 *       "max-function-locals": 10000,     with parameters
 *       "max-function-values": 200000,    values of blocks and branches, and locals used in loops
 *       "max-function-cost": 4194304,     predicted effort, in bytes of plain code
 *       "max-cost": 67108864,             the same, for all functions
 *       "max-definitions": 250000,        types, fields, imports, exports, segments and the like,
 *                                         once for each instance of their component
 *       "max-type-depth": 100,            nesting of types, 1 to 100
 *       "max-component-depth": 64,        nesting of modules and components
 *       "max-components": 1000,           modules and components at any depth
 *                                         not a limit of a load:
 *       "max-unused-code-bytes": 67108864 kept code that no component uses any more: least
 *                                         recently used goes first, at most 32 binaries
 *     }
 *
 * "memory-reservation": "large" reserves 4 GiB and guards for each memory. "small" reserves little
 * more than the memory's size: guests are slower, and a memory is copied when it grows by more than
 * 1 MiB. "automatic" is "small" if the process has a limit (RLIMIT_AS) or the system does not grant
 * a large reservation, and "large" otherwise.
 * "none" reserves nothing: memories lie side by side and share a few of the process's mappings, so
 * that tens of thousands of components fit. Guests are as slow as with "small". A memory has room
 * to grow by half, at least 1 MiB, before it is copied. Instances of large binaries do not share
 * their initial memory.
 *
 * "cache-dir": the library executes what is in this directory. It makes the directory if it is
 * missing. The directory must belong to this user and be closed to others (mode 0700). Others must
 * not be able to write to any directory on the path to it, unless that has the sticky bit, like
 * /tmp. `airssys_engine_new` opens the directory once and holds it open. Each entry has a checksum
 * with a secret key, the file `key` in the directory. The library recompiles an entry that is
 * damaged, or is not a regular file that belongs to this user or root and only its owner can write.
 * Any number of engines and processes may share the directory.
 *
 * A read-only cache is used as it is: nothing is written, replaced or removed, and others may read
 * it. A directory is read-only if it belongs to root and the process does not run as root, if
 * nobody may write to it (mode 0555), or if it is mounted read-only. Its key is then not secret,
 * and its owner is trusted. To make one, fill a directory with an engine, and make all of it
 * readable, `key` included.
 *
 *
 * LOAD: airssys_engine_load, airssys_engine_load_file
 *
 *     {
 *       "env": { "KEY": "value" },        passed to `initialize`; also the WASI environment
 *       "config": "text" or any JSON,     passed to `initialize`: a string as its bytes, any other
 *                                         value as JSON text
 *       "limits": { ... },                of each instance, see below
 *       "mailbox": {                      of each instance:
 *         "capacity": 1024,               waiting messages, 1 to 1048576
 *         "max-bytes": 67108864,          of waiting messages: payloads, content types, and 256 for
 *                                         each; a single message may exceed it
 *         "when-full": "reject"           "reject" refuses a message, "block" makes the sender wait
 *                                         for room, "drop-oldest" drops the oldest message, which
 *                                         becomes a dead letter
 *       },
 *       "instances": 1,                   size of the pool, 1 to 4096: the instances share handle,
 *                                         id, storage, quotas and work, least busy first. Each has
 *                                         its own mailbox, memory and limits
 *       "codecs": [],                     accepted codecs, by name (see CODECS): a payload that
 *                                         begins with another multicodec is refused when sent;
 *                                         empty: no check
 *       "capabilities": { ... },          what the component may do, see CAPABILITIES. null: none;
 *                                         default: those of the configuration
 *       "quotas": { ... },                how much of it, see below
 *       "supervision": { ... },           what follows a crash, see below. null: the next message
 *                                         makes a new instance; default: that of the configuration
 *       "group": "text",                  the group of the component, by the name given to
 *                                         airssys_engine_add_group; it must exist. A member has
 *                                         "supervision" even if nothing names one; default: none
 *       "kept-versions": 2,               versions for airssys_engine_rollback, 0 to 64
 *       "require-lifecycle": false,       true refuses a component that exports no
 *                                         component-lifecycle: AIRSSYS_ERROR_INVALID_COMPONENT
 *       "expect": { "name": "text",       what the metadata must be, "version" by the rules of
 *                   "version": "^1.2" },  semver; another is AIRSSYS_ERROR_INVALID_COMPONENT
 *       "sha256": "64 digits",            of the binary, likewise
 *       "signature": "128 digits",        of the binary, see SIGNATURES; default: none
 *       "health": {                       checks of `health`; default: none. They never come before
 *                                         messages that wait, and are left out while there are some
 *         "interval-ms": 10000,           1 to 86400000
 *         "timeout-ms": 1000,             beyond it the instance is lost, as after a trap
 *         "unhealthy-after": 3            "unhealthy" checks in a row, after which the instance is
 *                                         lost, as after a trap; 1 to 1000, null: never
 *       },
 *       "activation": "at-load",          "on-demand": the first message makes the first instance;
 *                                         the component is "passive" until then
 *       "idle-timeout-ms": 60000,         without a message, after which the component becomes
 *                                         "passive", see below; default: never
 *       "state": "volatile",              "durable": the state of a component that exports
 *                                         `component-state` outlives the process, see below
 *       "restore-after-crash": false,     true: after a crash as well, as it was saved last; needs
 *                                         "durable", as does
 *       "save-every": {                   saves of a running component; default: none
 *         "messages": 1000,               after so many messages and callbacks
 *         "ms": 60000                     and in this interval, if it has handled something
 *       },
 *       "recycle-above-bytes": 1048576,   of linear memory, beyond which a new instance takes the
 *                                         place of this one; default: no limit
 *       "recycle-after-messages": 1000,   likewise, messages and callbacks; default: no limit
 *       "storage": { "scope": "id" }      "name": its keys are those of "namespace/name", which all
 *                                         components of that name share; see CAPABILITIES
 *     }
 *
 * A passive component has no instance; its next message makes one. A component that waits for the
 * outcome of a request of its own does not become passive. A component that exports
 * `component-state` (wit/state) keeps its state: `save` of the old instance and `restore` of the
 * new one are called, also when an instance is recycled or replaced. The state counts against
 * "max-host-bytes". Other components begin anew.
 *
 * A durable state is saved in the engine's storage, in the namespace "airssys.engine", when the
 * component is stopped, unloaded, shut down with its engine or passivated. The next start of a
 * component with this id restores it: a load, airssys_engine_start, or the next message. After a
 * crash of the component, or of the process (`airssys_engine_free` without a shutdown included),
 * it begins anew, unless "restore-after-crash" is true. airssys_engine_restart forgets the state.
 * If the state cannot be restored, the load fails; load the component without "durable" to begin
 * anew. One component may keep a durable state under an id; each instance of a pool has its own.
 *
 *     "supervision": {                    of each instance, if the member is there:
 *       "restart": "permanent",           "permanent": a new instance at once. "transient": the
 *                                         same, but an exit with code 0 stops the component.
 *                                         "temporary": none, the component fails. "on-demand": with
 *                                         the next message
 *       "max-restarts": 10,               in "window-ms"; then the component fails: what waits
 *                                         becomes dead letters, and messages are refused, until
 *                                         airssys_engine_start. null: no limit
 *       "window-ms": 60000,               slides
 *       "backoff": {                      pauses before restarts; messages wait meanwhile
 *         "growth": "exponential",        "none": no pause, "fixed": always the first,
 *                                         "exponential": each twice as long as the one before
 *         "first-ms": 100,
 *         "max-ms": 30000,
 *         "jitter-percent": 20,           the share of a pause of which a random part is left out
 *         "quiet-ms": 60000               without a restart, after which the first pause is next
 *       }
 *     }
 *
 *     "limits": {
 *       "max-memory-bytes": 268435456,    all memories of the component together
 *       "max-host-bytes": 67108864,       host memory that the component occupies, from 262144:
 *                                         mail, open requests, metadata, in-memory storage.
 *                                         Default: at least "max-bytes" of the mailbox
 *       "max-message-bytes": 16777216,    payload of a message to it or from it, and of a reply; at
 *                                         most 1073741824
 *       "max-execution-time-ms": 5000,    for one message, with host functions and sleeps
 *       "max-fuel": null,                 for one message, about one unit per instruction; null: no
 *                                         limit
 *       "max-instances": 1000,            core instances inside the component, 1 to 100000
 *       "max-table-elements": 100000      all tables together
 *     }
 *
 * Fixed limits: 512 KiB of stack, 100 memories, 1,000 tables. A message that does not fit into the
 * receiver's memory is not delivered: it fails with `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`. If the
 * outcome of a component's own request does not fit, the component receives a small error instead.
 *
 * Texts of components have fixed bounds:
 *
 *     part of an id                     255 bytes
 *     storage key                       1,024 bytes
 *     text of an error                  4,096 bytes; longer ones are cut and state their length
 *     log record                        65,536 bytes, with 64 pairs of 4,096 bytes each; cut
 *     metadata                          4,096 bytes per text, 256 operations of 256 bytes each;
 *                                       more is AIRSSYS_ERROR_INVALID_COMPONENT
 *     broadcast                         10,000 targets
 *
 * A quota of null is unlimited; for the last two, null is the default:
 *
 *     "quotas": {
 *       "messages-per-second": null,      sends, requests, and targets of broadcasts
 *       "outstanding-requests": null,     requests without an outcome
 *       "storage-bytes": null,            keys and values
 *       "storage-keys": null,
 *       "log-bytes-per-second": null,     records and output, plus 64 for each record and each
 *                                         pair. The rest is dropped; a record states how much when
 *                                         there is room again
 *       "random-bytes-per-second": null,
 *       "host-functions-per-second": null, calls of functions that the host offers
 *       "host-call-data-bytes": 33554432, from the component to the host in one call, of a host
 *                                         function or of one of its own; at most 134217728.
 *                                         Default: at least twice "max-message-bytes"
 *       "wasi-resources": 256             open files, sockets, timers and streams, 1 to 1048576
 *     }
 *
 * A rate is a token bucket, one second deep. A larger amount passes when the bucket is full, and is
 * paid back afterwards. Waiting mail is bounded by the mailbox, not by a quota; the refusal of a
 * full mailbox is recorded as a breach of quota by the sender.
 *
 *
 * GROUP: airssys_engine_add_group
 *
 *     {
 *       "strategy": "one-for-one",        what the loss of a member takes along: "one-for-one":
 *                                         nothing, "one-for-all": all members, "rest-for-one":
 *                                         those that came into the group after it
 *       "max-restarts": 10,               by the group, in "window-ms"; then it gives up, see
 *                                         airssys_engine_add_group. null: no limit
 *       "window-ms": 60000,               slides
 *       "group": "text"                   the group around it, by name; default: none
 *     }
 *
 *
 * REPLACE: airssys_engine_replace, airssys_engine_replace_file
 *
 *     {
 *       "env": { "KEY": "value" },        in place of all earlier variables; default: they stay
 *       "config": "text" or any JSON,     as for a load; null: none; default: it stays
 *       "health-gate-ms": 1000,           the new instance must report itself healthy within this
 *                                         time; default: its health does not matter
 *       "timeout-ms": 1000,               the new instance waits this long for the message in
 *                                         progress, which is not interrupted; default: no limit
 *       "expect": { ... },                as for a load
 *       "newer": false,                   true: the version in the metadata must be newer than the
 *                                         one before, by the rules of semver
 *       "sha256": "64 digits",            as for a load
 *       "signature": "128 digits",        as for a load
 *       "canary": { ... }                 the new version is tried first, see below; default: it
 *                                         takes over at once
 *     }
 *
 * A canary: each instance gets one of the new version beside it, which handles a share of the
 * messages.
 *
 *     "canary": {
 *       "share-percent": 10,              of the messages, 1 to 100; exact for each instance
 *       "messages": 100,                  messages and callbacks after which the canary is
 *                                         promoted; 1 to 1000000000; default: 100 unless there is
 *                                         "time-ms"
 *       "time-ms": 60000,                 after which it is promoted, or aborted if it has handled
 *                                         nothing; 1 to 2592000000; default: no limit
 *       "max-error-percent": 0,           of what it has handled: with more errors it is aborted,
 *                                         as soon as "messages" cannot make up for them; null: any
 *       "promote": "automatic"            "by-call": only `airssys_engine_promote` promotes it, and
 *                                         after "time-ms" it is aborted
 *     }
 *
 * The order of messages stays, and one is handled at a time. Callbacks go to the version that made
 * the request. Errors are all that `airssys_engine_stats` counts as failed; what the host ends is
 * none. After a crash the canary gets a new instance with its next message; the supervision of the
 * component does not count that. If both versions export `component-state`, the canary begins with
 * the state of the old version; each has its own then, and at the promotion that of the old version
 * goes to a new instance of the new one. A canary is aborted when the component is stopped,
 * restarted, unloaded, or fails. A component with a canary is not passivated and not recycled, and
 * counts once for "max-live-instances".
 *
 *
 * SIGNATURES: "signature" of LOAD and REPLACE, "trusted-keys" and "require-signature" of
 * CONFIGURATION
 *
 * A signature is Ed25519 (RFC 8032) over 32 bytes: the SHA-256 of the binary, not its hexadecimal
 * text. Keys and signatures are hexadecimal digits, 64 and 128. A signature that is given must be
 * by one of the trusted keys. With "require-signature", a binary without one is refused as well.
 * Refused binaries are AIRSSYS_ERROR_INVALID_COMPONENT, and are never compiled. A replacement
 * without a new binary and a rollback need no signature: their binary was checked when it came.
 * `airssys_engine_describe` names the key that signed.
 *
 *
 * STORAGE: "storage" of CONFIGURATION
 *
 *     { "path": "/var/lib/app/state",     the file; its directory must exist. Default: memory, or
 *                                         the host
 *       "durability": "sync",             or "interval", see below
 *       "interval-ms": 1000,              between two syncs with "interval"
 *       "cache-bytes": 16777216,          of the file's pages, in memory
 *       "check-on-open": true,            false: verifies the file only after a crash
 *       "compact-above-ratio": 4,         compacts a file that is larger than 64 MiB and than this
 *                                         many times what is in it; 0: never
 *       "read-cache-bytes": 1048576 }     not for a file: memory for what was read from the host's
 *                                         storage, and for keys that it lacks: each is read once.
 *                                         Only for a storage that nobody else writes to; default:
 *                                         none
 *
 * airssys_engine_new opens the file, and makes it if it is missing, for this user only;
 * airssys_engine_free closes it. One engine at a time has it open. A file of another format or
 * program, and a damaged one, are refused and never changed. The object replaces one of an earlier
 * document as a whole. A "path" excludes a storage of the host.
 *
 * "sync": when set or delete returns to a component, the change is on disk, whatever happens to the
 * process or the system. Components that store at the same time share a sync. "interval": it is
 * there within "interval-ms", or when the engine ends; a crash of the process or the system, or an
 * error of the disk, loses all changes since the last sync. In both cases each change is complete
 * or not made, in the order in which a component made them.
 *
 * Components wait for the disk without holding a worker; only the one that asked waits. A full disk
 * is quota-exceeded to the component, any other error of the disk io-error, with the text in the
 * log. Such an error may be told of a change that was made nevertheless. The file is then opened
 * anew and verified as after a crash, which takes a time in proportion to its size; changes
 * meanwhile, and for 16 times as long, get the same error, and reads go on. A process with a limit
 * on the size of files (RLIMIT_FSIZE) must ignore SIGXFSZ, which otherwise ends it.
 *
 * Each value has a checksum, so that damage becomes an error and never wrong data. Damage of keys
 * is found when the file is opened. One case cannot be told from a crash in the middle of a change:
 * after a crash, damage of what the last change wrote undoes that change.
 *
 * A child of fork that lives on without exec keeps the file locked if its parent is killed.
 *
 *
 * CAPABILITIES: "capabilities" of LOAD and CONFIGURATION, airssys_engine_grant,
 * airssys_engine_revoke
 *
 * A component may do what its capabilities grant, and nothing else. Capabilities are a set of
 * grants, or an array of sets (in LOAD and CONFIGURATION). A set:
 *
 *     { "messaging": { "send": ["app/log/0"],         patterns of receivers' ids
 *                      "request": ["app/db/r*"], "broadcast": ["**"] },
 *       "storage": ["read", "write", "delete"],       in the component's own namespace
 *       "filesystem": { "/srv/in": ["read", "list-dir"],
 *                       "/srv/out/log*.csv": { "actions": ["read", "write", "delete"],
 *                                              "guest-path": "/out" } },
 *       "network": { "outbound": ["api.example.com:443", "10.1.0.0/16:5432"],
 *                    "inbound": ["127.0.0.1:8080"] },
 *       "host": ["editor:api/buffer#get-line"],       patterns of the host's functions
 *       "expires-in-ms": 60000 }                      from reading the document, by the system's
 *                                                     clock; or "expires-at-ms", since 1970
 *
 * The longer forms of wit/core/capabilities.wit are equivalent:
 *
 *     "messaging":  [{ "action": "send", "target-pattern": "app/log/0" }]
 *     "storage":    [{ "action", "namespace-pattern" }]
 *     "filesystem": [{ "action" or "actions", "path-pattern", "guest-path" }]
 *     "network":    [{ "action", "host-pattern", "port", "private" }]
 *
 * Storage. "read" covers get, exists, list-keys and usage; "write" covers set; "delete" covers
 * delete. Without a pattern, the grant is for the component's own namespace, its id. A component
 * with "storage": { "scope": "name" } uses the namespace "namespace/name" instead, and needs a
 * grant whose pattern matches that: "storage": { "read": "app/db", "write": "app/db" }.
 *
 * Host. The functions of interfaces that the host offers, see airssys_config_add_interface, without
 * versions: "editor:api/buffer#get-line", "editor:api/buffer#*". A * matches as in ids.
 *
 * Patterns. * matches any characters within a segment. A segment ** matches any number of segments,
 * also none.
 *
 * Files. A path is absolute. It names a directory with everything in it, a file, or a directory
 * followed by a name with wildcards: the files directly in the directory with such a name. The
 * directory must exist. The library holds it open: a later replacement is not reached, and neither
 * symbolic links nor ".." lead out of it. If the path names a file or has wildcards, no symbolic
 * link is followed. Components cannot make links. "guest-path" is where the component sees the
 * directory; default: its own path.
 *
 * Network. A host is a name, *.example.com, **.example.com, an address, addr/bits or *, each with
 * :port or for all ports. A name and * reach public addresses only. They reach any address with
 * "private": true, or if a grant covers the address itself. An instance remembers the addresses
 * that its lookups found: the grant of a name does not reach other addresses. The host of an
 * inbound grant is the address to listen on.
 *
 *
 * POLICIES: airssys_engine_set_policies, "policies" of CONFIGURATION
 *
 *     { "rules": [
 *       { "effect": "deny",               required; "deny" or "allow"
 *         "component": "plugins/seo/v*",  pattern of ids; default: "**", all
 *         "action": "messaging.send",     or a group, "storage.*"; default: "*", all
 *         "resource": "app/billing/0",    pattern of resources; default: "**", all
 *         "reason": "plugins must not write to billing" } ] }
 *
 * The first rule that applies decides. "deny" refuses, regardless of grants. "allow" exempts from
 * later rules. Neither grants anything: capabilities do. Actions and their resources:
 *
 *     messaging.send, .request, .broadcast            id of the receiver
 *     messaging.cancel                                id of the request
 *     directory.list                                  id of the listed component
 *     storage.read, .write, .delete                   namespace
 *     filesystem.read, .write, .delete, .list-dir     path of the host, without symbolic links
 *     network.outbound, .inbound                      host or address, with or without ":port"
 *     host.function                                   "editor:api/buffer#get-line", no version
 *     environment.read, random.read, clock.read       none; "**" applies
 *     log.write                                       none; "**" applies
 *     host.call                                       none; only in records, of quotas on calls
 *
 * environment.read, random.read, clock.read, log.write and messaging.cancel are allowed to every
 * component unless a rule refuses them. A refused clock or random number ends the call as a trap. A
 * refused environment is empty. Refused log records are dropped.
 *
 * A rule that denies a directory denies everything in it; a rule that allows a directory allows
 * only itself. A rule that can match nothing, because no id, path or host is like its pattern, is
 * an error. A component sees the components that it may send to, unless a rule refuses
 * directory.list; the record of a list has the resource "**". A rule with a port does not refuse
 * lookups of names. A rule for a name does not refuse connections to an address that was found
 * otherwise.
 */
