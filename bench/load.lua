-- The requests of one round: the lines of a file in a cycle, from one sequence for all connections, so that two equal
-- lines are not in flight at the same time. Each line is a token (or "-"), a tab and a body.
-- Each @KEY@ in a body becomes a new UUID.
local requests, templates, position, count, seed, drawn = {}, {}, 0, 0, 0, 0

function init(args)
  seed = tonumber(args[2])
  math.randomseed(seed)
  for line in io.lines(args[1]) do
    local token, body = line:match("^([^\t]*)\t(.*)$")
    local headers = { ["Content-Type"] = "application/json" }
    if token ~= "-" then headers["Authorization"] = "Bearer " .. token end
    count = count + 1
    if body:find("@KEY@", 1, true) then
      templates[count] = { headers, body }
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
  local body = template[2]:gsub("@KEY@", function()
    drawn = drawn + 1
    return string.format("%08x-0000-4000-8000-%012x", seed, drawn)
  end)
  return wrk.format("POST", nil, template[1], body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "us": %d, "bytes": %d, "failed": %d, "broken": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
