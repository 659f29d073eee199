-- json.lua: JSON text to Lua values, by jansson (the engine's own reader, so
-- that what a test accepts is what JSON is). null becomes json.null.
local ffi = require("ffi")
ffi.cdef [[
typedef struct { int type; size_t refcount; } kiln_test_json;
typedef struct { int line, column, position; char source[80]; char text[160]; } kiln_test_json_error;
kiln_test_json *json_loadb(const char *, size_t, size_t, kiln_test_json_error *);
void json_delete(kiln_test_json *);
const char *json_string_value(const kiln_test_json *);
size_t json_string_length(const kiln_test_json *);
long long json_integer_value(const kiln_test_json *);
double json_real_value(const kiln_test_json *);
size_t json_array_size(const kiln_test_json *);
kiln_test_json *json_array_get(const kiln_test_json *, size_t);
void *json_object_iter(kiln_test_json *);
void *json_object_iter_next(kiln_test_json *, void *);
const char *json_object_iter_key(void *);
kiln_test_json *json_object_iter_value(void *);
]]
local loaded, jansson = pcall(ffi.load, "jansson")
if not loaded then
  jansson = ffi.load("libjansson.so.4")
end

local json = { null = setmetatable({}, { __tostring = function() return "null" end }) }

local function value(node)
  local kind = node.type
  if kind == 0 then
    local object = {}
    local at = jansson.json_object_iter(node)
    while at ~= nil do
      object[ffi.string(jansson.json_object_iter_key(at))] =
        value(jansson.json_object_iter_value(at))
      at = jansson.json_object_iter_next(node, at)
    end
    return object
  elseif kind == 1 then
    local array = {}
    for i = 1, tonumber(jansson.json_array_size(node)) do
      array[i] = value(jansson.json_array_get(node, i - 1))
    end
    return array
  elseif kind == 2 then
    return ffi.string(jansson.json_string_value(node), jansson.json_string_length(node))
  elseif kind == 3 then
    return tonumber(jansson.json_integer_value(node))
  elseif kind == 4 then
    return jansson.json_real_value(node)
  elseif kind == 5 then
    return true
  elseif kind == 6 then
    return false
  end
  return json.null
end

-- The value, or nil and why not.
function json.decode(text)
  local why = ffi.new("kiln_test_json_error")
  local JSON_DECODE_ANY, JSON_ALLOW_NUL = 4, 16
  local node = jansson.json_loadb(text, #text, JSON_DECODE_ANY + JSON_ALLOW_NUL, why)
  if node == nil then
    return nil, ("line %d: %s"):format(why.line, ffi.string(why.text))
  end
  local result = value(node)
  jansson.json_delete(node)
  return result
end

return json
