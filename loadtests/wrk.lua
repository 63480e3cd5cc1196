-- Check-ins by wrk: new ids for each, and a note of every one that was accepted.
-- Arguments: a file of tokens, one of bodies, the size of a batch, the first digits of ids, a seed,
-- what stands in an answer once for each accepted check-in, and a file to write to.

local threads = {}
local AT_ONCE = 1000

function setup(thread)
  table.insert(threads, thread)
end

local function lines_of(name)
  local found = {}
  for line in io.lines(name) do
    table.insert(found, line)
  end
  return found
end

local heads = {}
local bodies, size, day, marker
local turn = 0
-- what `done` asks of threads is global
acknowledged = {}
failed = {}

function init(args)
  bodies = lines_of(args[2])
  size, day, marker, out = tonumber(args[3]), args[4], args[6], args[7]
  local route = size == 1 and "/v1/check-ins" or "/v1/check-ins/batch"
  for _, token in ipairs(lines_of(args[1])) do
    table.insert(heads, "POST " .. route .. " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
      .. token .. "\r\nContent-Type: application/json\r\nContent-Length: ")
  end
  math.randomseed(tonumber(args[5]))
end

local function new_id()
  local random = math.random
  return string.format("%s%04x-%04x-8%03x-%x%03x-%06x%06x", day, random(0, 65535), random(0, 65535),
    random(0, 4095), random(8, 11), random(0, 4095), random(0, 16777215), random(0, 16777215))
end

local function claim()
  return string.format(bodies[math.random(#bodies)], new_id())
end

function request()
  turn = turn % #heads + 1
  local body
  if size == 1 then
    body = claim()
  else
    local claims = {}
    for i = 1, size do
      claims[i] = claim()
    end
    body = '{"check_ins":[' .. table.concat(claims, ",") .. "]}"
  end
  return heads[turn] .. #body .. "\r\n\r\n" .. body
end

local function count_of(body)
  if marker == "" then
    return size
  end
  local count, at = 0, 1
  while true do
    local first, last = string.find(body, marker, at, true)
    if not first then
      return count
    end
    count, at = count + 1, last + 1
  end
end

local function append(name, lines)
  local file = io.open(name, "a")
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
end

function response(status, headers, body)
  local good = status == (size == 1 and 201 or 200) and count_of(body) == size
  if not good then
    table.insert(failed, tostring(status))
    return
  end
  for id in string.gmatch(body, '"id":"([0-9a-f-]+)"') do
    table.insert(acknowledged, id)
  end
  if #acknowledged >= AT_ONCE then
    append(out, acknowledged)
    acknowledged = {}
  end
end

function done(summary, latency, requests)
  local told = {"took_us " .. summary.duration}
  for i = 1, 1000 do
    table.insert(told, "latency_us " .. latency:percentile(math.min(i / 10, 99.999)))
  end
  for _, thread in ipairs(threads) do
    for _, id in ipairs(thread:get("acknowledged")) do
      table.insert(told, id)
    end
    for _, status in ipairs(thread:get("failed")) do
      table.insert(told, "failed " .. status)
    end
  end
  local errors = summary.errors
  for _, what in ipairs({"connect", "read", "write", "timeout"}) do
    if errors[what] > 0 then
      table.insert(told, "failed " .. what)
    end
  end
  append(threads[1]:get("out"), told)
end
