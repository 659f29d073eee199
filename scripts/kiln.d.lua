---@meta
-- What policies see, for the Lua language server (Lua.workspace.library).

---@class kiln.Limits
---@field cpu? number milliseconds
---@field memory? number bytes
---@field processes? number
---@field output? number bytes of a stream
---@field disk? number bytes
---@field files? number
---@field open_files? number
---@field file_size? number bytes
---@field cpus? number a share of the CPUs: 1.5

---@class kiln.InputFile
---@field name string
---@field mime_type? string
---@field size? number bytes; nil where the engine reads it from a path

--- What is to be run. A policy may change it, better a kiln.copy of it. A wrong type or an
--- unknown field is an error of the policy when it reaches the innermost next or kiln.run.
---@class kiln.Input
---@field code string
---@field language string
---@field backend? string a wish
---@field args string[]
---@field env table<string, string>
---@field stdin? string
---@field timeout_ms? number
---@field limits kiln.Limits what is above the configuration's ceilings is cut to them
---@field transaction boolean what fails leaves the session as it was
---@field cell_id? string
---@field session_id string changes are ignored
---@field input_files kiln.InputFile[] changes are ignored

---@class kiln.Error
---@field kind "user"|"limit"|"policy"|"system"
---@field name string
---@field message string
---@field traceback? string[]

--- What happened. Read-only; unknown fields are errors; of no use after its execution.
---@class kiln.Result
---@field status "ok"|"error"|"timeout"|"limit"|"crashed"|"interrupted"|"denied"|"skipped"|"unavailable"
---@field success boolean
---@field exit_code? number
---@field signal? number
---@field backend? string
---@field language string
---@field stdout string
---@field stderr string
---@field outputs table[]
---@field errors kiln.Error[]
---@field output_files table[]
---@field decisions table[]
---@field duration_ms number
---@field started_at string
---@field usage {cpu_ms?: number, max_rss_bytes?: number, processes?: number, disk_bytes?: number}
---@field truncated {stdout: number, stderr: number}
---@field phases {compile?: number}
---@field session_id string
---@field execution_id string
---@field execution_count number
---@field cell_id? string

---@class kiln.Notebook
local notebook = {}
--- The import lines of the session's earlier cells that succeeded. Awaits.
---@return string[]? lines, string? failure
function notebook:get_imports() end

---@class kiln.Context
---@field session_id string
---@field execution_id string
---@field client? string who asked, as the door knows it
---@field execution_count number 1 for the session's first
---@field failures number of the session, in a row, before this execution
---@field options table<string, any> as kiln.options declared them
---@field policy string its own name
---@field notebook kiln.Notebook
local context = {}
--- Adds to the result's decisions.
---@param action string
---@param detail? string
function context:decide(action, detail) end

--- What is inside of a policy; awaits. May be called again, to run again, until the policy
--- has returned. Never raises for what happens inside: that is in the result.
---@alias kiln.Next fun(input: kiln.Input): kiln.Result
--- A script returns one, or a table of hooks. It must return a result of this execution.
---@alias kiln.Policy fun(input: kiln.Input, ctx: kiln.Context, next: kiln.Next): kiln.Result
--- What `kiln eval` asks a policy for code by, where a scenario has an instruction alone.
---@class kiln.Scenario
---@field name string
---@field instruction string
---@field language? string what the scenario says
---@field source_of_truth? {name: string, text: string}
---@field inputs string[] names of the input files
--- The first of a chain that has one is asked, before any policy's execute. Awaits.
---@alias kiln.Instruct fun(scenario: kiln.Scenario, ctx: kiln.Context): string, string? code, language
--- A native function that code is about to call.
---@class kiln.Call
---@field name string
---@field arguments any[] bytes and text are strings; integers past 2^53 decimal text
---@class kiln.CallContext
---@field session_id string
---@field execution_id string
---@field client? string
---@field options table<string, any>
---@field policy string
---@field decide fun(self, action: string, detail?: string)
--- Asked for each, of every policy of the chain, the outermost first; false refuses it, and so
--- does an error. May not await.
---@alias kiln.OnCall fun(call: kiln.Call, ctx: kiln.CallContext): boolean?, string?
---@class kiln.Hooks
---@field execute? kiln.Policy
---@field instruct? kiln.Instruct
---@field on_call? kiln.OnCall

---@class kiln.Option
---@field type "string"|"boolean"|"integer"|"duration"|"size"|"list" durations are read as milliseconds, sizes as bytes
---@field default? any as it would stand in the file; a list may be a table
---@field help? string

--- What executions share, over chains and reloads, until the engine ends. Keys are of 1 to
--- 256 bytes and everybody's: begin them with the policy's name. A full store is an error.
---@class kiln.Store
local store = {}
---@param key string
---@return number|string|boolean|nil
function store.get(key) end
--- nil deletes. ttl: milliseconds or "1s"; without it for ever.
---@param key string
---@param value number|string|boolean|nil at most 4096 bytes
---@param ttl? number|string
function store.set(key, value, ttl) end
--- Adds in one step; one that is not there begins at 0 and lives for ttl.
---@param key string
---@param by? number 1
---@param ttl? number|string
---@return number sum
function store.incr(key, by, ttl) end
--- Takes one of `most` places until the execution ends, however it ends.
---@param key string
---@param most number
---@return boolean held
function store.hold(key, most) end
--- Keeps what a result says; not one with output files or cut output, nor above 1M. The
--- oldest make room for new ones; a reload forgets them all.
---@param key string
---@param result kiln.Result
---@param ttl? number|string
---@return true? kept, string? why
function store.remember(key, result, ttl) end
--- As a result of this execution.
---@param key string
---@return kiln.Result?
function store.recall(key) end

--- Counted for whoever shows it (`kiln trace --json`, a metrics page). Names of a-z, 0-9
--- and _; at most 4 labels and 1000 series: further ones are dropped and counted.
---@class kiln.Metric
local metric = {}
---@param name string
---@param by? number 1
---@param labels? table<string, string>
function metric.count(name, by, labels) end
---@param name string
---@param value number
---@param labels? table<string, string>
function metric.gauge(name, value, labels) end
--- Into a histogram.
---@param name string
---@param value number
---@param labels? table<string, string>
function metric.observe(name, value, labels) end

--- What [native NAME] sections and plugins expose to policies. A call awaits, and gives the
--- function's result (unless void), what is `out`, and errno, as its signature says. It raises
--- "NativeType: ...", NativeOverflow, NativeTimeout, NativeCrashed, NativeLimit, NativeError.
--- Strings are for string and bytes, lists for arrays and structs; integers past 2^53 are decimal
--- text. Functions for callbacks are called while the policy waits, and may not await.
---@alias kiln.NativeFunction fun(...: number|string|boolean|table|function): ...
---@alias kiln.Native table<string, kiln.NativeFunction|table<string, kiln.NativeFunction>>

---@class kiln
---@field native kiln.Native
---@field version string
---@field backends table<string, {stateful: boolean, languages: string[]}> "*" stands for every language
---@field default_backend string [engine] backend
---@field store kiln.Store
---@field metric kiln.Metric
kiln = {}
--- Declares the keys of [policy NAME]; once, while the script is loaded.
---@param options table<string, kiln.Option>
function kiln.options(options) end
--- Runs on that backend, past the policies inside. Awaits.
---@param backend string
---@param input kiln.Input
---@return kiln.Result
function kiln.run(backend, input) end
--- Runs {backend, input} entries at once; awaits them all.
---@param list {[1]: string, [2]: kiln.Input}[]
---@return kiln.Result[]
function kiln.all(list) end
--- Runs {backend, input} entries at once; awaits the first, the others are cancelled.
---@param list {[1]: string, [2]: kiln.Input}[]
---@return kiln.Result, integer
function kiln.race(list) end
--- Awaits.
---@param time number|string milliseconds, or "1s"
function kiln.sleep(time) end
--- What the language's own parser says of the code, without running it. Awaits.
---@param code string
---@param language? string
---@return {imports: string[], import_lines: string[], names: string[], calls: string[], error?: table}? analysis, string? failure
function kiln.analyze(code, language) end
---@param reason string
---@return kiln.Result status denied
function kiln.deny(reason) end
---@param reason string
---@return kiln.Result status unavailable
function kiln.unavailable(reason) end
---@param level "error"|"warning"|"info"|"debug"
---@param text string never code, input or secrets
function kiln.log(level, text) end
--- Whether a line of that level would be written.
---@param level "error"|"warning"|"info"|"debug"
---@return boolean
function kiln.logging(level) end
--- A table of its own, and of the tables in it.
---@generic T: table
---@param input T
---@return T
function kiln.copy(input) end
--- Keys in order; functions and cycles are errors.
---@return string
function kiln.json(value) end
---@param text string
---@return string hexadecimal
function kiln.sha256(text) end
--- Tells questions apart: language, backend, code, stdin, args, env, limits, input files
--- with their content (4M at most).
---@param input kiln.Input
---@return string? hexadecimal, string? failure
function kiln.fingerprint(input) end
--- Of a clock that never goes back; it has no other meaning.
---@return number milliseconds
function kiln.now() end
---@param text string "500ms", "5s", "2h"
---@return number? milliseconds, string? failure
function kiln.duration(text) end
---@param text string "64K", "1M"
---@return number? bytes, string? failure
function kiln.size(text) end

---@class kiln.Run
---@field result table the result as JSON has it
---@field decisions {policy: string, action: string, detail: string}[]
---@field ran string[] names of the backends, in order
---@field calls {backend: string, input: kiln.Input}[]
---@field log {level: string, policy: string, text: string}[]
---@field slept number milliseconds of the made-up clock
---@field metrics {series: table[], dropped: number}
---@field analyzed number calls of analyze

---@class kiln.Experiment
---@field policy? string the one under test; or policies, the outermost first
---@field policies? string[]
---@field options? table of policy; with policies, by name
---@field on_failure? "unavailable"|"denied"|table<string, string>
---@field backends? table<string, function|{run?: function, stateful?: boolean, languages?: string[]}> run(input, number) returns fields of a result
---@field backend? string the default one
---@field input? table as the JSON of an input; code is "" by default
---@field analyze? table|fun(code: string, language: string): table?, string?
---@field imports? string[]|string what ctx.notebook:get_imports() gives; a string: its failure
---@field session_id? string
---@field client? string
---@field execution_count? number
---@field failures? number
---@field scenario? kiln.Scenario then `instruct` is asked for the code

--- In NAME_test.lua, run by `kiln test`.
---@class kiln.Test
test = {}
---@param name string
---@param body fun()
function test.case(name, body) end
--- Inside of a test.case, whose runs share a store, metrics and a clock.
---@param spec kiln.Experiment
---@return kiln.Run
function test.run(spec) end
function test.ok(condition, name) end
function test.is(got, want, name) end
---@param pattern string a Lua pattern
function test.like(text, pattern, name) end
---@param run kiln.Run
function test.decided(run, action, detail) end
--- What a metric has come to.
---@param run kiln.Run
---@param name string
---@param labels? table<string, string>
---@return number?
function test.metric(run, name, labels) end
--- Moves the made-up clock.
---@param milliseconds number
function test.advance(milliseconds) end
