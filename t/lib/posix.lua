-- posix.lua: the few system calls that tests need. Thin: names and meanings are C's.
local ffi = require("ffi")
local C = ffi.C
ffi.cdef [[
typedef int pid_t;
typedef long ssize_t;
typedef unsigned int mode_t;
struct pollfd { int fd; short events, revents; };
struct kiln_test_timespec { long tv_sec, tv_nsec; };
int pipe2(int *, int);
int close(int);
ssize_t read(int, void *, size_t);
ssize_t write(int, const void *, size_t);
int poll(struct pollfd *, unsigned long, int);
int kill(pid_t, int);
pid_t getpid(void);
unsigned getuid(void);
pid_t waitpid(pid_t, int *, int);
int fcntl(int, int, ...);
int clock_gettime(int, struct kiln_test_timespec *);
int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);
char *mkdtemp(char *);
int mkdir(const char *, mode_t);
int mkfifo(const char *, mode_t);
int chmod(const char *, mode_t);
int symlink(const char *, const char *);
char *strerror(int);
char *realpath(const char *, char *);
void free(void *);
int posix_spawnp(pid_t *, const char *, const void *, const void *, char *const *, char *const *);
int posix_spawn_file_actions_init(void *);
int posix_spawn_file_actions_destroy(void *);
int posix_spawn_file_actions_adddup2(void *, int, int);
int posix_spawn_file_actions_addchdir_np(void *, const char *);
int posix_spawn_file_actions_addopen(void *, int, const char *, int, mode_t);
int posix_openpt(int);
int grantpt(int);
int unlockpt(int);
int ptsname_r(int, char *, size_t);
int ioctl(int, unsigned long, ...);
int dup(int);
int posix_spawnattr_init(void *);
int posix_spawnattr_destroy(void *);
int posix_spawnattr_setflags(void *, short);
int posix_spawnattr_setsigdefault(void *, const void *);
int posix_spawnattr_setsigmask(void *, const void *);
int sigfillset(void *);
int sigemptyset(void *);
void *(*signal(int, void *))(int);
void *opendir(const char *);
struct kiln_test_dirent { unsigned long ino; long off; unsigned short reclen; unsigned char type; char name[256]; };
struct kiln_test_dirent *readdir(void *);
int closedir(void *);
extern char **environ;
]]

local posix = {
  SIGHUP = 1, SIGINT = 2, SIGKILL = 9, SIGTERM = 15, SIGSTOP = 19, SIGCONT = 18,
  SIGSEGV = 11, SIGABRT = 6,
  POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16,
  EAGAIN = 11, EINTR = 4,
}
local O_CLOEXEC, O_NONBLOCK, F_SETFL = 0x80000, 0x800, 4
local SIGPIPE = 13
C.signal(SIGPIPE, ffi.cast("void *", 1)) -- a reader that left is not our end

function posix.fail(what)
  error(what .. ": " .. ffi.string(C.strerror(ffi.errno())), 3)
end

function posix.now()
  local t = ffi.new("struct kiln_test_timespec")
  C.clock_gettime(1, t)
  return tonumber(t.tv_sec) + tonumber(t.tv_nsec) / 1e9
end

function posix.sleep(seconds)
  C.poll(nil, 0, math.ceil(seconds * 1000))
end

-- Two descriptors, close-on-exec.
function posix.pipe()
  local fds = ffi.new("int[2]")
  if C.pipe2(fds, O_CLOEXEC) ~= 0 then posix.fail("pipe2") end
  return fds[0], fds[1]
end

function posix.nonblocking(fd)
  C.fcntl(fd, F_SETFL, ffi.cast("int", O_NONBLOCK))
end

-- A pseudo-terminal: our end, and the path of the other.
function posix.terminal(rows, columns)
  local O_RDWR, O_NOCTTY, TIOCSWINSZ = 2, 0x100, 0x5414
  local master = C.posix_openpt(O_RDWR + O_NOCTTY + O_CLOEXEC)
  local path = ffi.new("char[64]")
  if master < 0 or C.grantpt(master) ~= 0 or C.unlockpt(master) ~= 0
    or C.ptsname_r(master, path, 64) ~= 0 then
    posix.fail("posix_openpt")
  end
  C.ioctl(master, TIOCSWINSZ, ffi.new("unsigned short[4]", rows, columns, 0, 0))
  return master, ffi.string(path)
end

-- argv and env: arrays of strings. fds: what becomes 0, 1, 2, or the path of a terminal
-- that becomes all three, and is the session's. A session of its own.
-- The pid, or nil and why not.
function posix.spawn(argv, env, fds, cwd)
  local actions = ffi.new("long[16]") -- posix_spawn_file_actions_t: 80 bytes
  local attributes = ffi.new("long[48]") -- posix_spawnattr_t: 336 bytes
  local all = ffi.new("long[16]") -- sigset_t
  local none = ffi.new("long[16]")
  C.sigfillset(all)
  C.sigemptyset(none)
  C.posix_spawn_file_actions_init(actions)
  C.posix_spawnattr_init(attributes)
  C.posix_spawnattr_setsigdefault(attributes, all)
  C.posix_spawnattr_setsigmask(attributes, none)
  local SETSIGDEF, SETSIGMASK, SETSID = 0x04, 0x08, 0x80
  C.posix_spawnattr_setflags(attributes, SETSIGDEF + SETSIGMASK + SETSID)
  if cwd then C.posix_spawn_file_actions_addchdir_np(actions, cwd) end
  if type(fds) == "string" then
    C.posix_spawn_file_actions_addopen(actions, 0, fds, 2, 0)
    C.posix_spawn_file_actions_adddup2(actions, 0, 1)
    C.posix_spawn_file_actions_adddup2(actions, 0, 2)
  else
    for target = 0, 2 do
      C.posix_spawn_file_actions_adddup2(actions, fds[target + 1], target)
    end
  end
  local keep = {}
  local function vector(strings)
    local v = ffi.new("char *[?]", #strings + 1)
    for i, s in ipairs(strings) do
      local copy = ffi.new("char[?]", #s + 1, s)
      keep[#keep + 1] = copy
      v[i - 1] = copy
    end
    v[#strings] = nil
    return v
  end
  local pid = ffi.new("pid_t[1]")
  local code = C.posix_spawnp(pid, argv[1], actions, attributes, vector(argv), vector(env))
  C.posix_spawn_file_actions_destroy(actions)
  C.posix_spawnattr_destroy(attributes)
  if code ~= 0 then return nil, ffi.string(C.strerror(code)) end
  return pid[0], keep
end

-- Exit code and signal once it has ended (one of them nil), false while it runs.
function posix.reap(pid)
  local status = ffi.new("int[1]")
  local got = C.waitpid(pid, status, 1)
  if got ~= pid then return false end
  local low = bit.band(status[0], 0x7f)
  if low == 0 then return bit.band(bit.rshift(status[0], 8), 0xff), nil end
  return nil, low
end

function posix.environ()
  local env, at = {}, 0
  while C.environ[at] ~= nil do
    local name, text = ffi.string(C.environ[at]):match("^([^=]+)=(.*)$")
    if name then env[name] = text end
    at = at + 1
  end
  return env
end

-- Names in a directory without . and .., or an empty list when there is none.
-- The second table tells name -> true for directories.
function posix.list(path)
  local names, directories = {}, {}
  local handle = C.opendir(path)
  if handle == nil then return names, directories end
  while true do
    local entry = C.readdir(handle)
    if entry == nil then break end
    local name = ffi.string(entry.name)
    if name ~= "." and name ~= ".." then
      names[#names + 1] = name
      directories[name] = entry.type == 4 or nil
    end
  end
  C.closedir(handle)
  table.sort(names)
  return names, directories
end

-- Executable by all; `mode` else.
function posix.chmod(path, mode)
  if C.chmod(path, mode or 493) ~= 0 then posix.fail("chmod " .. path) end
end

function posix.symlink(target, path)
  if C.symlink(target, path) ~= 0 then posix.fail("symlink " .. path) end
end

function posix.read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("*a")
  file:close()
  return text
end

return posix
