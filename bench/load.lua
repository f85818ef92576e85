-- The requests of one round: the lines of a file in turn, each an Authorization header (or "-"), a tab and a body.
-- @KEY@ in a body becomes a UUID that no other request has.
local requests, templates, position, count, seed, drawn = {}, {}, 0, 0, 0, 0

function init(args)
  seed = tonumber(args[2])
  math.randomseed(seed)
  for line in io.lines(args[1]) do
    local token, body = line:match("^([^\t]*)\t(.*)$")
    local headers = { ["Content-Type"] = "application/json" }
    if token ~= "-" then headers["Authorization"] = "Bearer " .. token end
    local before, after = body:match("^(.*)@KEY@(.*)$")
    count = count + 1
    if before then
      templates[count] = { headers, before, after }
    else
      requests[count] = wrk.format("POST", nil, headers, body)
    end
  end
  position = math.random(0, count - 1)
end

function request()
  position = position % count + 1
  local ready = requests[position]
  if ready then return ready end
  local template = templates[position]
  drawn = drawn + 1
  local key = string.format("%08x-0000-4000-8000-%012x", seed, drawn)
  return wrk.format("POST", nil, template[1], template[2] .. key .. template[3])
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "us": %d, "bytes": %d, "failed": %d, "broken": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
