#!/usr/bin/env luajit
-- [sandbox] network: none, host and proxy, through `kiln run`. Every server is one that this
-- test starts on 127.0.0.1. What the proxy makes of HTTP is t/unit/network_test.c's.
local tap = require("tap")
local before = tap.snapshot()

local server = tap.start { "/usr/bin/python3", "-u", "-c", [[
import http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = "%s %s %s" % (self.command, self.path, self.rfile.read(length).decode())
        body += " host=" + self.headers.get("Host", "") + " proxy=%s" % self.headers.get("Proxy-Connection")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    do_GET = do_POST = answer
    def log_message(self, *args):
        print(self.requestline)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=other.serve_forever, daemon=True).start()
print("ports %d %d." % (server.server_port, other.server_port))
server.serve_forever()
]] }
tap.ok(server:wait_for("ports %d+ %d+%."), "a server of our own")
local port, other = server:output():match("ports (%d+) (%d+)%.")

-- Runs with $PORT and $OTHER put in.
local function run(backend, language, code, settings)
  local argv = { "kiln", "run", "--json", "-b", backend, "-l", language }
  for _, setting in ipairs(settings) do
    argv[#argv + 1] = "--set"
    argv[#argv + 1] = (setting:gsub("%$PORT", port):gsub("%$OTHER", other))
  end
  argv[#argv + 1] = "-c"
  argv[#argv + 1] = (code:gsub("%$PORT", port):gsub("%$OTHER", other))
  return tap.run_json({ argv = argv }).json or {}
end

local function decisions(result)
  local list = {}
  for _, decision in ipairs(result.decisions or {}) do
    if decision.policy == "network" then
      list[#list + 1] = decision.action .. " " .. decision.detail
    end
  end
  return table.concat(list, "\n")
end
local function text(template)
  return (template:gsub("%$PORT", port):gsub("%$OTHER", other))
end

local PROXY = { "sandbox.network=proxy", "sandbox.allow=127.0.0.1:$PORT localhost:$PORT" }

-- ---- nothing by default

local reach = [[
import socket
for port in ($PORT, 3128):
    try:
        socket.create_connection(("127.0.0.1", port), 5)
        print("connected")
    except OSError as error:
        print(type(error).__name__)
import os
print([name for name in os.environ if "proxy" in name.lower()])
]]
for _, backend in ipairs { "interpreter", "exec" } do
  local result = run(backend, "python", reach, {})
  tap.ok(result.status == "ok" and not result.stdout:find("connected") and
    result.stdout:find("%[%]\n$"), backend .. ": no network by default, and no word of a proxy")
end

-- ---- the proxy: what is listed, and nothing else

local client = [[
import os, socket, urllib.request, urllib.error
def get(url, data=None):
    try:
        print(urllib.request.urlopen(url, data, timeout=30).read().decode())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode().strip())
get("http://127.0.0.1:$PORT/a?b=c")
get("http://127.0.0.1:$PORT/post", b"x" * 10)
get("http://127.0.0.1:$OTHER/")
get("http://localhost:$PORT/name")
get("http://elsewhere.invalid/")
for port in ($PORT, $OTHER):
    try:
        socket.create_connection(("127.0.0.1", port), 5)
        print("connected")
    except OSError as error:
        print(type(error).__name__)
print("udp", end=" ")
try:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("192.0.2.1", 53))
    print("sent", sock.send(b"x"))
except OSError as error:
    print(type(error).__name__)
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname(), 5).close()
print("own loopback")
]]
for _, backend in ipairs { "interpreter", "exec" } do
  local result = run(backend, "python", client, PROXY)
  local lines = {}
  for line in ((result.stdout or "") .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = line end
  tap.is(result.status, "ok", backend .. ": runs")
  tap.is(lines[1], text("GET /a?b=c  host=127.0.0.1:$PORT proxy=None"), "GET through urllib")
  tap.is(lines[2], text("POST /post xxxxxxxxxx host=127.0.0.1:$PORT proxy=None"), "and POST")
  tap.is(lines[3], text("403 kiln: 127.0.0.1:$OTHER: not in [sandbox] allow"), "another port: no")
  tap.is(lines[4], text("GET /name  host=localhost:$PORT proxy=None"),
    "a listed name of a listed address")
  tap.is(lines[5], "403 kiln: elsewhere.invalid:80: not in [sandbox] allow", "another host: no")
  tap.is((lines[6] or "") .. (lines[7] or ""), "ConnectionRefusedErrorConnectionRefusedError",
    "past the proxy there is nothing")
  tap.is(lines[8], "udp OSError", "no other protocol")
  tap.is(lines[9], "own loopback", "the session's own loopback works")
  tap.is(decisions(result), text("connect 127.0.0.1:$PORT (2 times)\n" ..
    "refused 127.0.0.1:$OTHER: not in [sandbox] allow\n" ..
    "connect localhost:$PORT\n" ..
    "refused elsewhere.invalid:80: not in [sandbox] allow"), "and the result says so")
end

-- ---- programs

local shell = [[
curl -sS -m 60 http://127.0.0.1:$PORT/curl; echo
curl -sS -m 60 -p -x "$http_proxy" http://127.0.0.1:$PORT/tunnel; echo
curl -s -m 60 -p -x "$http_proxy" http://127.0.0.1:$OTHER/; echo " status $?"
curl -s -m 60 -o /dev/null -w '%{http_code}\n' http://127.0.0.1:$OTHER/
]]
local result = run("exec", "bash", shell, PROXY)
if (result.stderr or ""):find("curl: command not found", 1, true) then
  tap.skip("curl is not installed", 5)
else
  local out = result.stdout or ""
  tap.contains(out, text("GET /curl  host=127.0.0.1:$PORT proxy=None\n"), "curl")
  tap.contains(out, text("GET /tunnel  host=127.0.0.1:$PORT proxy=None\n"), "curl through CONNECT")
  tap.like(out, "\n status [1-9]%d*\n403\n$", "and is refused like the others")
  tap.contains(decisions(result), "connect 127.0.0.1:" .. port .. " (2 times)", "both are told")
  tap.contains(decisions(result), "refused 127.0.0.1:" .. other, "and what was refused")
end

-- ---- addresses by name: localhost is listed, 127.0.0.1 is not

result = run("interpreter", "python", [[
import urllib.request, urllib.error
try:
    urllib.request.urlopen("http://localhost:$PORT/secret")
except urllib.error.HTTPError as error:
    print(error.code)
]], { "sandbox.network=proxy", "sandbox.allow=localhost:$PORT" })
tap.is(result.stdout, "403\n", "a name that stands for a private address is refused")
tap.like(decisions(result), "^refused localhost:" .. port .. ": resolves to %S+, a loopback address;",
  "and why")

-- ---- a hostile client

local hostile = [[
import socket, os
def talk(data, half=False):
    s = socket.create_connection(("127.0.0.1", 3128), 30)
    s.settimeout(60)
    try:
        s.sendall(data)
        if half:
            s.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            part = s.recv(65536)
            if not part:
                break
            answer += part
    except ConnectionError:
        pass
    s.close()
    return answer.split(b"\r\n")[0].decode()
for i in range(50):
    talk(os.urandom(1000), True)
print(talk(b"GET http://127.0.0.1:$PORT/ HTTP/1.1\r\nX: " + b"y" * 200000))
print(talk(b"GET http://127.0.0.1:$PORT/first HTTP/1.1\r\nHost: 127.0.0.1:$PORT\r\n\r\n"
           b"GET http://127.0.0.1:$PORT/smuggled HTTP/1.1\r\nHost: 127.0.0.1:$PORT\r\n\r\n"))
print(talk(b"GET http://127.0.0.1:$PORT/ HTTP/1.1\r\nHost: other\r\n\r\n"))
for i in range(130):
    talk(b"CONNECT h%d.invalid:1 HTTP/1.1\r\n\r\n" % i)
held = [socket.create_connection(("127.0.0.1", 3128), 30) for i in range(100)]
for s in held[:30]:
    s.sendall(b"CONNECT 127.0.0.1:$PORT HTTP/1.1\r\n\r\n")
print(held[0].recv(100).split(b"\r\n")[0].decode())
if os.fork() == 0:
    os.setsid()
    import time
    time.sleep(1000)
]]
for _, backend in ipairs { "interpreter", "exec" } do
  result = run(backend, "python", hostile, PROXY)
  tap.is(result.stdout, "HTTP/1.1 431 Request Header Fields Too Large\n" ..
    "HTTP/1.0 200 OK\nHTTP/1.1 400 Bad Request\nHTTP/1.1 200 Connection established\n",
    backend .. ": garbage, a huge head, two requests in one, a wrong Host")
  local list = {}
  for line in (decisions(result) .. "\n"):gmatch("(.-)\n") do list[#list + 1] = line end
  tap.is(#list, 101, "a hundred decisions")
  tap.like(list[101], "^connections %d+ more that are not listed$", "and how many more there were")
end

-- ---- a session's connections stay from cell to cell

local notebook = tap.write(tap.tempdir() .. "/n.ipynb", text([[
{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[
{"cell_type":"code","id":"a","metadata":{},"outputs":[],"execution_count":null,"source":
"import socket\ns = socket.create_connection(('127.0.0.1', 3128))\ns.sendall(b'CONNECT 127.0.0.1:$PORT HTTP/1.1\\r\\n\\r\\n')\nprint(s.recv(1000)[:12])"},
{"cell_type":"code","id":"b","metadata":{},"outputs":[],"execution_count":null,"source":
"s.sendall(b'GET /later HTTP/1.0\\r\\n\\r\\n')\nprint(s.recv(1000)[:12])"}]}
]]))
local r = tap.run { "kiln", "run", "--set", "sandbox.network=proxy", "--set",
  text("sandbox.allow=127.0.0.1:$PORT"), "-o", tap.tempdir(), notebook }
tap.is(r.code, 0, "a notebook")
tap.ok(server:wait_for("GET /later "), "uses a connection of an earlier cell")

-- ---- host

result = run("interpreter", "python",
  "import urllib.request\nprint(urllib.request.urlopen('http://127.0.0.1:$PORT/host').read().decode())",
  { "sandbox.network=host" })
tap.contains(result.stdout or "", "GET /host", "network = host: as the machine itself")
tap.is(decisions(result), "", "and nothing is told")

-- ---- what the server saw of all this

tap.ok(server:wait_for("GET /host "), "the server saw the last request")
tap.contains(server:output(), "GET /first ", "the first of two in one")
tap.unlike(server:output(), "smuggled", "not what was hidden behind it")
tap.unlike(server:output(), "/secret", "and not what was refused")

-- ---- configuration

r = tap.run { "kiln", "run", "--set", "sandbox.network=proxy", "--set", "sandbox.allow=example.org",
  "-c", "print(1)" }
tap.is(r.code, 2, "an entry without a port")
tap.is(r.err, 'kiln: [sandbox] allow: example.org: "example.org" has no port; write HOST:PORT\n',
  "is told in a line")
r = tap.run_json { "kiln", "check", "--json", "--config", "conf/with-network.ini" }
tap.same(r.json.network, { mode = "proxy",
  allow = { "example.org:443", "*.example.org:443", "10.0.0.5:8080" } }, "kiln check: the network")
r = tap.run { "kiln", "check", "--config", "conf/with-network.ini" }
tap.like(r.out, "network%s+proxy, to: example%.org:443 ", "for people, too")

r = tap.run { "kiln", "check", "--set", "sandbox.network=host" }
tap.like(r.out, "namespaces +[^\n]*not net: %[sandbox%] network is host", "and what host leaves open")

server:kill(9)
server:wait()
tap.no_leaks(before, "nothing is left")
tap.done()
