#include "config/schema.h"

#include "contract/limits.h"

#include <string.h>

#define YEAR_MS (365 * 24ULL * 60 * 60 * 1000)
#define MIB     (1ULL << 20)
#define PIB     (1ULL << 50)

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const layers[] = {
    "namespaces", "seccomp", "no_new_privs", "landlock", "cgroup", "uids", NULL};
static const char *const networks[] = {"none", "host", "proxy", NULL};
static const char *const failures[] = {"unavailable", "denied", NULL};

static const kiln_key engine_keys[] = {
    {"backends", KILN_OPTION_LIST, KILN_KEY_NAMES | KILN_KEY_UNIQUE, "interpreter exec noop",
     "The backends that are loaded. A backend that is not named here is never used.", 0, 0,
     NULL},
    {"backend", KILN_OPTION_STRING, KILN_KEY_NAMES, "interpreter",
     "The backend of an execution for which neither the request nor a policy names one.", 0, 0,
     NULL},
    {"chain", KILN_OPTION_STRING, KILN_KEY_NAMES, "default",
     "The chain of policies that an execution goes through: a [chain NAME] below.", 0, 0, NULL},
    {"plugins", KILN_TYPE_PATH, KILN_KEY_EMPTY, "",
     "Folder of the backends' NAME.so. Empty: the one that came with this kiln.", 0, 0, NULL},
    {"scripts", KILN_TYPE_PATH, KILN_KEY_EMPTY, "",
     "Folder of the policies' NAME.lua. Empty: the one that came with this kiln.", 0, 0, NULL},
    {"log_level", KILN_TYPE_CHOICE, 0, "warning",
     "What the engine tells of itself on standard error.", 0, 0, log_levels},
    {"grace", KILN_OPTION_DURATION, 0, "500ms",
     "How long an execution may go on after it was interrupted, before it is killed.", 0,
     3600000, NULL},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

static const kiln_key limit_keys[] = {
    {"timeout", KILN_OPTION_DURATION, 0, "60s",
     "Wall clock, for one execution from its start to its end.", 1, YEAR_MS, NULL},
    {"cpu", KILN_OPTION_DURATION, KILN_KEY_EMPTY, "",
     "CPU time of one execution, all its processes together. Empty: only the wall clock "
     "counts.",
     1, YEAR_MS, NULL},
    {"memory", KILN_OPTION_SIZE, 0, "1G",
     "Memory of all processes of a session together, its files included.", MIB, PIB, NULL},
    {"processes", KILN_OPTION_INTEGER, 0, "128",
     "Processes and threads of a session at one time.", 1, 4194304, NULL},
    {"output", KILN_OPTION_SIZE, 0, "4M",
     "How much of standard output, and of standard error, is kept. What comes after it is\n"
     "counted and dropped.",
     1, 1ULL << 40, NULL},
    {"disk", KILN_OPTION_SIZE, 0, "256M",
     "Content of all files of a session together. It is memory: at most half of `memory`.", MIB,
     PIB, NULL},
    {"files", KILN_OPTION_INTEGER, 0, "20000", "Files and folders of a session.", 64,
     1ULL << 31, NULL},
    {"open_files", KILN_OPTION_INTEGER, 0, "256", "Open descriptors of one process.", 16,
     1ULL << 20, NULL},
    {"file_size", KILN_OPTION_SIZE, KILN_KEY_EMPTY, "", "Size of one file. Empty: as `disk`.",
     1, PIB, NULL},
    {"cpus", KILN_TYPE_DECIMAL, KILN_KEY_EMPTY, "",
     "Share of the CPUs for all processes of a session together: 0.5 is half of one, 2 is "
     "two.\n"
     "Needs a cgroup with the cpu controller (`kiln check`). Empty: as much as there is.",
     KILN_CPUS_LEAST, 1000000, NULL},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

static const kiln_key sandbox_keys[] = {
    {"require", KILN_OPTION_LIST, KILN_KEY_EMPTY | KILN_KEY_UNIQUE,
     "namespaces seccomp no_new_privs",
     "Layers of confinement without which nothing runs, of: namespaces seccomp no_new_privs\n"
     "landlock cgroup uids. The others are used where the machine has them: see `kiln check`.",
     0, 0, layers},
    {"root", KILN_TYPE_PATH, KILN_KEY_EMPTY, "",
     "A folder whose /usr, /bin, /lib, /opt and parts of /etc code sees, read-only, in place "
     "of\n"
     "this machine's: `debootstrap bookworm /srv/images/debian` makes one. The interpreter "
     "needs\n"
     "in it the standard library of the Python that it was built with. Empty: this machine's.",
     0, 0, NULL},
    {"network", KILN_TYPE_CHOICE, 0, "none",
     "none: code reaches no network. proxy: what `allow` lists, through HTTP_PROXY and the "
     "like\n"
     "in its environment (HTTP, and CONNECT for HTTPS). host: the whole network of this "
     "machine,\n"
     "its loopback and abstract Unix sockets included; nothing is refused or told.",
     0, 0, networks},
    {"allow", KILN_OPTION_LIST, KILN_KEY_EMPTY | KILN_KEY_UNIQUE, "",
     "With network = proxy: example.org:443 *.example.org:443 10.0.0.5:8080 [fd00::5]:80. A "
     "name\n"
     "may only stand for addresses of the public internet; any other must be listed itself.",
     0, 0, NULL},
    {"loopback", KILN_OPTION_BOOL, 0, "true",
     "Each session has a network namespace of its own, with a loopback that reaches only its\n"
     "own programs. false: sessions of one zygote share one that has none, where the kernel\n"
     "keeps their abstract Unix sockets apart (Linux 6.12); about 0.3 ms less a session, but\n"
     "they can see the names of each other's sockets.",
     0, 0, NULL},
    {"uids", KILN_TYPE_UID_RANGE, KILN_KEY_EMPTY, "1900000000-1900065535",
     "User ids of the host that are kept for sessions, one each, when the engine runs as "
     "root.\n"
     "No account of this machine may lie among them. Empty: all sessions are one user.",
     0, 0, NULL},
    {"env", KILN_OPTION_LIST, KILN_KEY_EMPTY | KILN_KEY_ASSIGNMENTS, "",
     "Variables that code finds in its environment: NAME=value OTHER=\"two words\".", 0, 0,
     NULL},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

static const kiln_key session_keys[] = {
    {"max", KILN_OPTION_INTEGER, 0, "1000", "Sessions that are open at one time.", 1, 1000000,
     NULL},
    {"memory", KILN_OPTION_SIZE, KILN_KEY_EMPTY, "",
     "Memory of all sessions together: while they have more, none is opened and no cell is\n"
     "begun; a cell that runs already goes on, within its own limit ([limits] memory). Needs\n"
     "cgroups. Empty: each has only its own limit.",
     MIB, PIB, NULL},
    {"idle", KILN_OPTION_DURATION, KILN_KEY_EMPTY, "30m",
     "A session that has not been used for so long is closed, with its state and files. One\n"
     "that a front end is attached to (`kiln run`, `kiln repl`) is not. Empty: none is.",
     100, YEAR_MS, NULL},
    {"query_timeout", KILN_OPTION_DURATION, 0, "2s",
     "How long completion, inspection and other questions about a session's state may take.",
     10, 3600000, NULL},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

static const kiln_key chain_keys[] = {
    {"policies", KILN_OPTION_LIST, KILN_KEY_EMPTY | KILN_KEY_REQUIRED | KILN_KEY_NAMES,
     "audit deny route imports retry",
     "The policies, the outermost first; the last one's next() runs the backend. Empty: none.",
     0, 0, NULL},
    {"burst", KILN_OPTION_DURATION, 0, "50ms",
     "CPU time that its scripts may take without a pause: as long the engine does nothing "
     "else.",
     5, 10000, NULL},
    {"total", KILN_OPTION_DURATION, 0, "500ms",
     "CPU time that they may take in one execution; what they wait for is not counted.", 5,
     3600000, NULL},
    {"memory", KILN_OPTION_SIZE, 0, "32M",
     "Memory of its Lua state. Code and input that pass through are not counted.", 4 * MIB,
     2048 * MIB, NULL},
    {"awaits", KILN_OPTION_INTEGER, 0, "1000",
     "How often its scripts may wait for something in one execution: next, kiln.run, "
     "kiln.sleep.",
     1, 1000000, NULL},
    {"results", KILN_OPTION_SIZE, 0, "64M",
     "Size of all results that its scripts get to see in one execution.", 64 << 10, PIB, NULL},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

static const kiln_key policy_keys[] = {
    {"script", KILN_TYPE_PATH, KILN_KEY_EMPTY, "",
     "The Lua file. Empty: NAME.lua in [engine] scripts.", 0, 0, NULL},
    {"on_failure", KILN_TYPE_CHOICE, 0, "unavailable",
     "How an execution ends whose policy fails or takes too long: unavailable or denied. It\n"
     "never runs.",
     0, 0, failures},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

static const kiln_key backend_keys[] = {
    {"plugin", KILN_TYPE_PATH, KILN_KEY_EMPTY, "",
     "The shared object. Empty: NAME.so in [engine] plugins.", 0, 0, NULL},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

static const kiln_key runtime_keys[] = {
    {"extensions", KILN_OPTION_LIST,
     KILN_KEY_REQUIRED | KILN_KEY_UNIQUE | KILN_KEY_EXTENSIONS | KILN_KEY_EMPTY, "",
     "Names of files in this language end so: .py .pyw. The first is given to the code.", 0, 0,
     NULL},
    {"compile", KILN_TYPE_COMMAND, KILN_KEY_EMPTY, "",
     "The command that makes a program of the code; {file} is the code, {out} the program.\n"
     "Empty: there is nothing to compile. Words may be quoted; no shell reads them.",
     0, 0, NULL},
    {"run", KILN_TYPE_COMMAND, KILN_KEY_REQUIRED | KILN_KEY_EMPTY, "",
     "The command that runs it, {file} or {out} in it. Empty: this language is switched off.",
     0, 0, NULL},
    {"version", KILN_TYPE_COMMAND, KILN_KEY_EMPTY, "",
     "The command that tells which version there is, for `kiln check`.", 0, 0, NULL},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

static const kiln_key connection_keys[] = {
    {"arn", KILN_TYPE_ARN, KILN_KEY_EMPTY, "",
     "The connection, as in arn:aws:codeconnections:us-west-2:ACCOUNT:connection/ID; the "
     "service\n"
     "may be the older codestar-connections. Its Git endpoint follows from it.",
     0, 0, NULL},
    {"endpoint", KILN_TYPE_ENDPOINT, KILN_KEY_EMPTY, "",
     "Where OWNER/REPO.git is, in place of the ARN's own: https://mirror.example/git/. With\n"
     "http:// nothing is secret, and a credential_helper is allowed on loopback alone.",
     0, 0, NULL},
    {"credential_helper", KILN_TYPE_COMMAND, KILN_KEY_EMPTY, "",
     "A program that tells user and password by git-credential(1), \"get\" being added to its\n"
     "words. It runs outside the sandbox with the engine's environment; no shell reads it.",
     0, 0, NULL},
    {"cache", KILN_TYPE_PATH, KILN_KEY_EMPTY, "",
     "Folder for what was fetched. Empty: kiln/connections in $XDG_CACHE_HOME or ~/.cache.", 0,
     0, NULL},
    {"max_size", KILN_OPTION_SIZE, 0, "64M",
     "How much may be fetched of one commit, and how much its files may hold together.", 1024,
     1ULL << 40, NULL},
    {"timeout", KILN_OPTION_DURATION, 0, "60s",
     "How long fetching may take, from the credential helper to the last file.", 1, 86400000,
     NULL},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

static const char *const exposures[] = {"policy", "code", NULL};

static const kiln_key native_keys[] = {
    {"library", KILN_TYPE_LIBRARY, KILN_KEY_REQUIRED | KILN_KEY_EMPTY, "",
     "The shared object: a name that the dynamic linker finds (libz.so.1), or a path, with a "
     "/.\n"
     "Empty: this function is switched off.",
     0, 0, NULL},
    {"symbol", KILN_OPTION_STRING, KILN_KEY_EMPTY, "",
     "Its name there. Empty: NAME, or what follows the last dot of it.", 0, 0, NULL},
    {"signature", KILN_TYPE_SIGNATURE, KILN_KEY_REQUIRED | KILN_KEY_EMPTY, "",
     "What it takes and gives: uint64(uint64, bytes). The README has the whole language of it.",
     0, 0, NULL},
    {"expose", KILN_OPTION_LIST, KILN_KEY_UNIQUE, "policy",
     "Who may call it: policy, code. What code calls passes the chain's on_call.", 0, 0,
     exposures},
    {"timeout", KILN_OPTION_DURATION, 0, "5s",
     "How long one call may take; then its helper process is ended, and the next call gets\n"
     "another. Functions with the same word before the dot share one.",
     1, 3600000, NULL},
    {"memory", KILN_OPTION_SIZE, 0, "256M",
     "Memory of the helper process; of several functions, the largest counts.", 16 * MIB, PIB,
     NULL},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

const kiln_section_spec kiln_schema[KILN_SECTION_SPECS] = {
    {"engine", NULL, NULL, false, engine_keys, "The engine itself."},
    {"limits", NULL, NULL, false, limit_keys,
     "Ceilings. A request and a policy may ask for less, never for more."},
    {"sandbox", NULL, NULL, false, sandbox_keys, "How code is confined."},
    {"session", NULL, NULL, false, session_keys,
     "Sessions: how many, for how long, and what may be asked of them."},
    {"chain", "NAME", "default", false, chain_keys,
     "A chain of policies. [chain default] is always there; others must say their policies."},
    {"policy", "NAME", NULL, true, policy_keys,
     "A policy, where it is not to be as it ships. Beside these keys there are those that the\n"
     "script declares: `kiln check` tells them."},
    {"backend", "NAME", NULL, true, backend_keys,
     "A backend, where it is not to be as it ships. Beside these keys there are those that "
     "the\n"
     "plugin declares: `kiln plugins` tells them."},
    {"runtime", "LANGUAGE", NULL, false, runtime_keys,
     "A language of the exec backend. Those that ship are in runtimes.ini beside this file;\n"
     "a section here changes single keys of one, or adds another."},
    {"connection", "NAME", NULL, false, connection_keys,
     "A Git host whose repositories give code and files: connection:NAME/OWNER/REPO@REF:PATH\n"
     "as a script, an input file or a folder."},
    {"native", "NAME", NULL, false, native_keys,
     "A C function of a library, called in a confined process of its own: "
     "kiln.native.NAME(...)\n"
     "in policies, `from kiln import native` in code. A NAME may have a dot: zlib.crc32."},
};

const char kiln_schema_preamble[] =
    "# kiln.ini - the configuration of Kiln. `kiln config --reference` prints this text.\n"
    "#\n"
    "# Every key stands here at its default, behind a `#`. To change one, take the `#`\n"
    "# away, or better: keep only what you change, in a file of your own. `kiln config`\n"
    "# shows what is in effect and where each value came from, `kiln check` tries it.\n"
    "#\n"
    "# Which file is read: --config FILE, else $KILN_CONFIG, else\n"
    "# $XDG_CONFIG_HOME/kiln/kiln.ini (~/.config), else /etc/kiln/kiln.ini, else this one.\n"
    "# What wins, in rising order: the defaults, runtimes.ini, the file, the environment\n"
    "# (KILN_LIMITS_MEMORY=2G; KILN_POLICY_ROUTE_SCRIPT=... for [policy route] script),\n"
    "# --set limits.memory=2G (--set policy.route.script=...).\n"
    "#\n"
    "# A line is `key = value`, `[section]`, or a comment behind # or ; that has the line to\n"
    "# itself. A ; or # inside a value belongs to the value. A value is one line of at most\n"
    "# 4000 bytes. No key and no section may come twice. Unknown ones are errors.\n"
    "#   durations  500ms 30s 5m 2h 1d        sizes  512B 64K 512M 1G 1T (1K is 1024B)\n"
    "#   booleans   true false yes no on off 1 0\n"
    "#   lists      words with spaces or commas between; quotes keep them in a word\n"
    "#   paths      relative ones begin at the folder of the file that says them\n"
    "#\n"
    "# Other files, before the first section; names with * ? or [ may match nothing. They\n"
    "# count as a part of this file, so that no key may stand in both.\n"
    "#include = conf.d/*.ini\n";

const kiln_section_spec *kiln_schema_section(const char *name, size_t length)
{
    for (size_t i = 0; i < KILN_SECTION_SPECS; i++) {
        if (strncmp(kiln_schema[i].name, name, length) == 0 &&
            kiln_schema[i].name[length] == '\0') {
            return &kiln_schema[i];
        }
    }
    return NULL;
}

const char *kiln_schema_type_name(uint32_t type)
{
    switch (type) {
    case KILN_OPTION_STRING:
        return "string";
    case KILN_OPTION_BOOL:
        return "boolean";
    case KILN_OPTION_INTEGER:
        return "integer";
    case KILN_OPTION_DURATION:
        return "duration";
    case KILN_OPTION_SIZE:
        return "size";
    case KILN_OPTION_LIST:
        return "list";
    case KILN_TYPE_PATH:
        return "path";
    case KILN_TYPE_CHOICE:
        return "choice";
    case KILN_TYPE_COMMAND:
        return "command";
    case KILN_TYPE_UID_RANGE:
        return "range";
    case KILN_TYPE_DECIMAL:
        return "number";
    case KILN_TYPE_ARN:
        return "ARN";
    case KILN_TYPE_ENDPOINT:
        return "address";
    case KILN_TYPE_SIGNATURE:
        return "signature";
    case KILN_TYPE_LIBRARY:
        return "library";
    default:
        return NULL;
    }
}

const char *kiln_schema_unit(uint32_t type)
{
    return type == KILN_OPTION_DURATION ? "ms" : type == KILN_OPTION_SIZE ? "bytes" : "";
}

const char *kiln_key_default(const kiln_key *key, bool builtin)
{
    return (key->flags & KILN_KEY_REQUIRED) != 0 && !builtin ? "" : key->default_value;
}

bool kiln_section_builtin(const kiln_section_spec *spec, const char *name)
{
    return spec->placeholder == NULL ||
           (spec->builtin != NULL && strcmp(spec->builtin, name) == 0);
}
