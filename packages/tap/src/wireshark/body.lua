-- What is above comes from the protocol's tables; this part is packages/tap/src/wireshark/body.lua.

local coracle = Proto("coracle", "Coracle")

local u8, u16, u32, u64 = ProtoField.uint8, ProtoField.uint16, ProtoField.uint32, ProtoField.uint64
local text, raw, bool = ProtoField.string, ProtoField.bytes, ProtoField.bool

local f = {
  version = u8("coracle.version", "Version of the record"),
  kind = u8("coracle.kind", "Kind", base.DEC, names.kind),
  direction = u8("coracle.direction", "Direction", base.DEC, names.direction),
  flags = u8("coracle.record_flags", "Record flags", base.HEX),
  redacted = bool("coracle.redacted", "Payload left out or changed", 8, nil, flag.REDACTED),
  unowned = bool("coracle.unowned", "Nobody was to have it", 8, nil, flag.UNOWNED),
  own = bool("coracle.own", "Made by the proxy", 8, nil, flag.OWN),
  connection = u32("coracle.connection", "Client of the proxy"),
  digest = raw("coracle.digest", "Digest of the payload"),
  length = u32("coracle.length", "Length of the payload"),
  type = u8("coracle.type", "Type", base.HEX, names.type),
  frame_flags = u8("coracle.flags", "Flags", base.HEX),
  more = bool("coracle.more", "The message goes on", 8, nil, MORE),
  id = u32("coracle.id", "Id"),
  generation = u32("coracle.generation", "Generation"),
  offset = u64("coracle.offset", "Offset"),
  process = u32("coracle.process", "Process"),
  stream = u8("coracle.stream", "Stream", base.DEC, names.stream),
  container = text("coracle.container", "Container"),
  exec = text("coracle.exec", "Exec"),
  payload = raw("coracle.payload", "Payload"),
  limit = u64("coracle.window.limit", "May be sent to"),
  stdout_delivered = u64("coracle.attach.stdout_delivered", "Has stdout to"),
  stdout_limit = u64("coracle.attach.stdout_limit", "Stdout may be sent to"),
  stderr_delivered = u64("coracle.attach.stderr_delivered", "Has stderr to"),
  stderr_limit = u64("coracle.attach.stderr_limit", "Stderr may be sent to"),
  stdin_delivered = u64("coracle.attached.stdin_delivered", "Expects stdin from"),
  stdin_limit = u64("coracle.attached.stdin_limit", "Stdin may be sent to"),
  control_delivered = u64("coracle.attached.control_delivered", "Expects control from"),
  control_limit = u64("coracle.attached.control_limit", "Control may be sent to"),
  stdout_start = u64("coracle.attached.stdout_start", "Sends stdout from"),
  stderr_start = u64("coracle.attached.stderr_start", "Sends stderr from"),
  cause = u32("coracle.exit.cause", "Cause", base.DEC, names.cause),
  wait_status = u32("coracle.exit.wait_status", "Wait status", base.HEX),
  stdout_final = u64("coracle.exit.stdout_final", "Stdout ends at"),
  stderr_final = u64("coracle.exit.stderr_final", "Stderr ends at"),
  code = u32("coracle.code", "Code", base.DEC, names.code),
  message = text("coracle.message", "Message"),
  sandbox = text("coracle.sandbox", "Sandbox"),
  signal = u16("coracle.control.signal", "Signal"),
  columns = u16("coracle.control.columns", "Columns"),
  rows = u16("coracle.control.rows", "Rows"),
  method = text("coracle.method", "Method"),
  request_in = ProtoField.framenum("coracle.request_in", "Request in", base.NONE, frametype.REQUEST),
  response_in = ProtoField.framenum("coracle.response_in", "Answer in", base.NONE, frametype.RESPONSE),
  time = ProtoField.double("coracle.time", "Seconds since the request"),
  event = u16("coracle.event", "Event", base.DEC, names.event),
  value = u32("coracle.event.value", "Value"),
  event_text = text("coracle.event.text", "Text"),
}

local e = {
  violation = ProtoExpert.new("coracle.violation", "A rule of the protocol is broken", expert.group.PROTOCOL, expert.severity.ERROR),
  malformed = ProtoExpert.new("coracle.malformed", "The record can't be read", expert.group.MALFORMED, expert.severity.ERROR),
  unknown = ProtoExpert.new("coracle.unknown", "Of a later version", expert.group.UNDECODED, expert.severity.WARN),
  no_credit = ProtoExpert.new("coracle.no_credit", "The stream may not be sent on", expert.group.SEQUENCE, expert.severity.NOTE),
  repeated = ProtoExpert.new("coracle.repeated", "Bytes that had crossed before", expert.group.SEQUENCE, expert.severity.NOTE),
  unowned = ProtoExpert.new("coracle.dropped", "Nobody was to have this frame", expert.group.SEQUENCE, expert.severity.NOTE),
  failed = ProtoExpert.new("coracle.failed", "The request has failed", expert.group.RESPONSE_CODE, expert.severity.NOTE),
  refused = ProtoExpert.new("coracle.refused", "The client may not attach", expert.group.RESPONSE_CODE, expert.severity.WARN),
  ended = ProtoExpert.new("coracle.ended", "A connection was ended", expert.group.SEQUENCE, expert.severity.WARN),
}

local fields = {}
for _, field in pairs(f) do fields[#fields + 1] = field end

-- The fields of control messages, as the schema has them: coracle.ExecProcessRequest.container_id.
local message_fields = {}
local kinds = { string = text, bytes = raw, bool = bool, number = u64, double = ProtoField.double }
for message, members in pairs(messages) do
  message_fields[message] = {}
  for number, member in pairs(members) do
    local make = kinds[member.kind]
    if make then
      local field = make("coracle." .. message .. "." .. member.name, member.name)
      message_fields[message][number] = field
      fields[#fields + 1] = field
    end
  end
end
coracle.fields = fields

local experts = {}
for _, one in pairs(e) do experts[#experts + 1] = one end
coracle.experts = experts

-- The sandbox.
local interface_name = Field.new("frame.interface_name")
-- The run of the capturing process, for Wiresharks that count them.
local counts_sections, section_number = pcall(Field.new, "frame.section_number")

-- By sandbox: names of processes, streams, requests that were asked. Filled while a file is read for the first time.
local state = {}
-- By frame: what the first reading has found out, since the state moves on.
local found = {}

function coracle.init()
  state = {}
  found = {}
end

-- Frames may have passed that are not in the capture.
local function forget(link)
  link.requests = {}
  for _, process in pairs(link.processes) do
    process.generation, process.asked = nil, nil
    for _, stream in pairs(process.streams) do stream.next, stream.limit = nil, nil end
  end
end

-- Nothing where fields are not made, as in the first of two passes of tshark: the second one learns then, in order.
local function link_of()
  local field = interface_name()
  if not field then return nil end
  local key = field.value
  local link = state[key]
  if not link then
    link = { processes = {}, requests = {} }
    state[key] = link
  end
  local section = counts_sections and section_number()
  if section and link.section ~= section.value then
    if link.section then forget(link) end
    link.section = section.value
  end
  return link
end

-- Offsets are below 2^53.
local function offset_at(tvb, at)
  return tvb(at, 4):le_uint() + tvb(at + 4, 4):le_uint() * 4294967296
end

-- Protobuf --------------------------------------------------------------------------------------------------------

-- @return the number, and where the next byte is; nothing when it is cut
local function varint(tvb, at, finish)
  -- Doubles: whole numbers of some Luas overflow.
  local value, factor = 0.0, 1.0
  while at < finish do
    local byte = tvb(at, 1):uint()
    value = value + (byte % 128) * factor
    factor = factor * 128
    at = at + 1
    if byte < 128 then return value < 2 ^ 53 and math.floor(value) or value, at end
    if factor > 2 ^ 63 then return nil end
  end
  return nil
end

-- Calls found_field(number, wire type, value, where, length) for each field of a message, as far as it can be read.
local function each_field(tvb, at, finish, found_field)
  while at < finish do
    local begin = at
    local key, next_at = varint(tvb, at, finish)
    if not key then return end
    local number, wire = math.floor(key / 8), key % 8
    if wire == 0 then
      local value, after = varint(tvb, next_at, finish)
      if not value then return end
      found_field(number, wire, value, begin, after - begin)
      at = after
    elseif wire == 2 then
      local length, after = varint(tvb, next_at, finish)
      if not length or after + length > finish then return end
      found_field(number, wire, after, after, length)
      at = after + length
    elseif wire == 1 or wire == 5 then
      local length = wire == 1 and 8 or 4
      if next_at + length > finish then return end
      found_field(number, wire, next_at, next_at, length)
      at = next_at + length
    else
      return
    end
  end
end

local function message_tree(tree, tvb, at, finish, message)
  local members = messages[message]
  if not members then return end
  each_field(tvb, at, finish, function(number, wire, value, where, length)
    local member = members[number]
    if not member then
      if length > 0 then tree:add(tvb(where, length), "field " .. number .. " of a later version") end
    elseif member.kind == "message" then
      local sub = tree:add(tvb(where, length), member.name)
      message_tree(sub, tvb, where, where + length, member.message)
    else
      local field = message_fields[message][number]
      if not field or length == 0 then return end
      if wire == 0 then
        if member.kind == "bool" then
          tree:add(field, tvb(where, length), value ~= 0)
        elseif member.kind == "number" then
          -- More than a double holds is a time in nanoseconds; the last digits do not matter.
          tree:add(field, tvb(where, length), UInt64(value % 4294967296, math.floor(value / 4294967296) % 4294967296))
        end
      elseif wire == 1 and member.kind == "double" then
        tree:add_le(field, tvb(where, length))
      elseif wire == 2 and (member.kind == "string" or member.kind == "bytes") then
        tree:add(field, tvb(where, length))
      end
    end
  end)
end

-- The fields by number, of those that are wanted shortly: where and how long, or a number.
local function read_message(tvb, at, finish)
  local read = {}
  each_field(tvb, at, finish, function(number, wire, value, where, length)
    if wire == 2 then read[number] = { at = where, length = length } else read[number] = value end
  end)
  return read
end

local function string_of(tvb, place)
  if type(place) ~= "table" or place.length == 0 then return "" end
  return tvb(place.at, place.length):string()
end

-- Streams ---------------------------------------------------------------------------------------------------------

local function process_of(link, number)
  link.processes[number] = link.processes[number] or { streams = {} }
  return link.processes[number]
end

local function stream_of(link, id)
  local process = process_of(link, math.floor(id / 4))
  local kind = id % 4
  process.streams[kind] = process.streams[kind] or { highest = 0 }
  return process.streams[kind], process
end

local function number_text(value) return string.format("%.0f", value) end

local function check_data(stream, offset, finish)
  local told = {}
  if stream.next and offset > stream.next then
    told[#told + 1] = { e.violation, "DATA begins at " .. number_text(offset) .. " where " .. number_text(stream.next) .. " comes next: bytes are missing" }
  elseif stream.limit and finish > stream.limit then
    told[#told + 1] = { e.violation, "DATA goes to " .. number_text(finish) .. ", and may go to " .. number_text(stream.limit) .. " only" }
  elseif stream.final and finish > stream.final and not stream.stopped then
    told[#told + 1] = { e.violation, "DATA goes to " .. number_text(finish) .. ", beyond the stream's end at " .. number_text(stream.final) }
  end
  if offset < stream.highest then
    told[#told + 1] = { e.repeated, number_text(math.min(finish, stream.highest) - offset) .. " bytes had crossed before" }
  end
  stream.next = math.max(stream.next or 0, finish)
  stream.highest = math.max(stream.highest, finish)
  if stream.limit and stream.next >= stream.limit then
    told[#told + 1] = { e.no_credit, "All that may be sent was sent: the stream stands still until WINDOW allows more" }
  end
  return told
end

local function check_window(stream, delivered, limit)
  local told = {}
  if stream.next and delivered > math.max(stream.highest, stream.next) then
    told[#told + 1] = { e.violation, "WINDOW says that " .. number_text(delivered) .. " were delivered where " .. number_text(stream.highest) .. " were sent" }
  elseif stream.limit and limit < stream.limit then
    told[#told + 1] = { e.violation, "WINDOW allows " .. number_text(limit) .. " where " .. number_text(stream.limit) .. " were allowed before" }
  end
  stream.limit = limit
  return told
end

local function end_stream(stream, final)
  local told = {}
  if stream.final and stream.final ~= final and not stream.stopped then
    told[1] = { e.violation, "The stream ends at " .. number_text(final) .. ", and was said to end at " .. number_text(stream.final) }
  end
  stream.final = final
  return told
end

local function attach_stream(stream, start, limit)
  stream.next = start
  stream.highest = math.max(stream.highest, start)
  stream.final = nil
  if limit then stream.limit = limit end
end

-- What a frame of a stream or process means for what comes next.
local function follow(link, tvb, header)
  local kind = header.type
  local id = header.id
  if kind == T.ATTACH and header.kept >= 48 then
    process_of(link, math.floor(id / 4)).asked = { generation = header.generation, stdout = offset_at(tvb, header.payload + 24), stderr = offset_at(tvb, header.payload + 40) }
    return {}
  end
  if header.unowned then return {} end
  if kind == T.ATTACHED and header.kept >= 48 then
    local process = process_of(link, math.floor(id / 4))
    local asked = process.asked
    if asked and asked.generation ~= header.generation then asked = nil end
    local at = header.payload
    attach_stream(stream_of(link, id + 1), offset_at(tvb, at), offset_at(tvb, at + 8))
    attach_stream(stream_of(link, id), offset_at(tvb, at + 16), offset_at(tvb, at + 24))
    attach_stream(stream_of(link, id + 2), offset_at(tvb, at + 32), asked and asked.stdout)
    attach_stream(stream_of(link, id + 3), offset_at(tvb, at + 40), asked and asked.stderr)
    process.generation = header.generation
    return {}
  end
  if kind == T.EXIT and header.kept >= 24 then
    local told = end_stream(stream_of(link, id + 2), offset_at(tvb, header.payload + 8))
    for _, one in ipairs(end_stream(stream_of(link, id + 3), offset_at(tvb, header.payload + 16))) do told[#told + 1] = one end
    return told
  end
  if not of_stream[kind] then return {} end
  local stream, process = stream_of(link, id)
  -- Sent before a new attachment.
  if process.generation and process.generation ~= header.generation then return {} end
  process.generation = header.generation
  if kind == T.DATA then return check_data(stream, header.offset, header.offset + header.length) end
  if kind == T.EOF then return end_stream(stream, header.offset) end
  if kind == T.STOP then stream.stopped = true end
  if kind == T.WINDOW and header.kept >= 8 then return check_window(stream, header.offset, offset_at(tvb, header.payload)) end
  return {}
end

-- Requests --------------------------------------------------------------------------------------------------------

-- A message's first frame tells; of the others nothing is known.
local function follow_request(link, tvb, header, number, time)
  local key = header.connection .. " " .. header.id
  if header.type == T.REQUEST then
    local known = link.requests[key]
    if known and known.more then
      known.more = header.more
      return { request = known, continues = true }
    end
    local outer = read_message(tvb, header.payload, header.payload + header.kept)
    local request = { method = string_of(tvb, outer[request_field.method]), number = number, time = time, more = header.more, container = "", exec = "" }
    local shape = methods[request.method]
    local body = outer[request_field.payload]
    if shape and type(body) == "table" then
      local inner = read_message(tvb, body.at, body.at + body.length)
      request.container = string_of(tvb, inner[shape.container_id])
      request.exec = string_of(tvb, inner[shape.exec_id])
    end
    link.requests[key] = request
    return { request = request }
  end
  local request = link.requests[key]
  if not request then return {} end
  if not request.answer then
    request.answer = number
    local outer = read_message(tvb, header.payload, header.payload + header.kept)
    local body = outer[response_field.payload]
    local shape = methods[request.method]
    if shape and shape.process and type(body) == "table" then
      local inner = read_message(tvb, body.at, body.at + body.length)
      local handle = inner[shape.process]
      if type(handle) == "table" then
        local process = read_message(tvb, handle.at, handle.at + handle.length)[handle_field.process]
        if process then
          local known = process_of(link, process)
          known.container, known.exec = request.container, request.exec
        end
      end
    end
  end
  if not header.more then link.requests[key] = nil end
  return { request = request, continues = request.answer ~= number }
end

-- Payloads --------------------------------------------------------------------------------------------------------

local function code_and_text(tree, tvb, at, kept)
  tree:add_le(f.code, tvb(at, 4))
  if kept > 4 then tree:add(f.message, tvb(at + 4, kept - 4)) end
  return names.code[tvb(at, 4):le_uint()] or "unknown"
end

local function offsets(tree, tvb, at, list)
  for index, field in ipairs(list) do tree:add_le(field, tvb(at + 8 * (index - 1), 8)) end
end

-- Each adds to the tree and returns words for the info column.
local payloads = {
  [T.DATA] = function(tree, tvb, h)
    local words = number_text(h.length) .. " bytes, " .. number_text(h.offset) .. " to " .. number_text(h.offset + h.length)
    if h.id % 4 ~= 0 or h.redacted then
      if h.kept > 0 then tree:add(f.payload, tvb(h.payload, h.kept)) end
      return words
    end
    local told = {}
    for at = h.payload, h.payload + h.kept - CONTROL_RECORD_BYTES, CONTROL_RECORD_BYTES do
      if tvb(at, 1):uint() == control.signal then
        tree:add_le(f.signal, tvb(at + 2, 2))
        told[#told + 1] = "signal " .. tvb(at + 2, 2):le_uint()
      elseif tvb(at, 1):uint() == control.resize then
        tree:add_le(f.columns, tvb(at + 2, 2))
        tree:add_le(f.rows, tvb(at + 4, 2))
        told[#told + 1] = "size " .. tvb(at + 2, 2):le_uint() .. "x" .. tvb(at + 4, 2):le_uint()
      else
        tree:add_proto_expert_info(e.violation, "A control record of an unknown kind")
      end
    end
    return table.concat(told, ", ")
  end,
  [T.EOF] = function(_, _, h) return "ends at " .. number_text(h.offset) end,
  [T.WINDOW] = function(tree, tvb, h)
    if h.kept < 8 then return "" end
    tree:add_le(f.limit, tvb(h.payload, 8))
    return "delivered to " .. number_text(h.offset) .. ", may be sent to " .. number_text(offset_at(tvb, h.payload))
  end,
  [T.ATTACH] = function(tree, tvb, h)
    if h.kept < 48 then return "" end
    offsets(tree, tvb, h.payload + 16, { f.stdout_delivered, f.stdout_limit, f.stderr_delivered, f.stderr_limit })
    return "has stdout to " .. number_text(offset_at(tvb, h.payload + 16))
  end,
  [T.ATTACHED] = function(tree, tvb, h)
    if h.kept < 48 then return "" end
    offsets(tree, tvb, h.payload, { f.stdin_delivered, f.stdin_limit, f.control_delivered, f.control_limit, f.stdout_start, f.stderr_start })
    return "stdout from " .. number_text(offset_at(tvb, h.payload + 32))
  end,
  [T.REFUSED] = function(tree, tvb, h)
    if h.kept < 4 then return "" end
    local code = code_and_text(tree, tvb, h.payload, h.kept)
    tree:add_proto_expert_info(e.refused, "The client may not attach: " .. code)
    return code
  end,
  [T.EXIT] = function(tree, tvb, h)
    if h.kept < 24 then return "" end
    tree:add_le(f.cause, tvb(h.payload, 4))
    tree:add_le(f.wait_status, tvb(h.payload + 4, 4))
    offsets(tree, tvb, h.payload + 8, { f.stdout_final, f.stderr_final })
    if h.kept > 24 then tree:add(f.message, tvb(h.payload + 24, h.kept - 24)) end
    local status = tvb(h.payload + 4, 4):le_uint()
    if status % 128 ~= 0 then return "ended by signal " .. status % 128 end
    return "exited with " .. math.floor(status / 256) % 256
  end,
  [T.BIND] = function(tree, tvb, h)
    if h.kept == 0 then return "" end
    tree:add(f.sandbox, tvb(h.payload, h.kept))
    return tvb(h.payload, h.kept):string()
  end,
  [T.GOAWAY] = function(tree, tvb, h)
    if h.kept < 4 then return "" end
    local code = code_and_text(tree, tvb, h.payload, h.kept)
    local one = code == "invalid_argument" and e.violation or e.ended
    if code ~= "cancelled" then tree:add_proto_expert_info(one, "The connection ends: " .. code) end
    return code
  end,
}

local function request_payload(tree, tvb, h, about)
  local request = about.request
  local shape = request and methods[request.method]
  if h.type == T.REQUEST then
    if request and request.method ~= "" then tree:add(f.method, request.method):set_generated() end
    if request and request.answer then tree:add(f.response_in, request.answer):set_generated() end
  elseif request then
    if request.method ~= "" then tree:add(f.method, request.method):set_generated() end
    tree:add(f.request_in, request.number):set_generated()
    tree:add(f.time, about.time - request.time):set_generated()
  end
  if h.kept == 0 or about.continues then return request and request.method .. " goes on" or "" end
  local begin, finish = h.payload, h.payload + h.kept
  message_tree(tree, tvb, begin, finish, h.type == T.REQUEST and "Request" or "Response")
  local outer = read_message(tvb, begin, finish)
  local body = outer[h.type == T.REQUEST and request_field.payload or response_field.payload]
  if shape and type(body) == "table" and body.length > 0 then
    local name = h.type == T.REQUEST and shape.request or shape.response
    message_tree(tree:add(tvb(body.at, body.length), name), tvb, body.at, body.at + body.length, name)
  end
  local target = request and request.container or ""
  if request and request.exec ~= "" then target = target .. "/" .. request.exec end
  local words = (request and request.method or "") .. (target == "" and "" or " " .. target)
  local failure = h.type == T.RESPONSE and outer[response_field.error]
  if type(failure) == "table" then
    local code = names.code[read_message(tvb, failure.at, failure.at + failure.length)[error_field.code] or 0] or "unknown"
    tree:add_proto_expert_info(e.failed, "The request has failed: " .. code)
    return words .. ": failed, " .. code
  end
  return h.type == T.RESPONSE and words .. ": done" or words
end

-- Records ---------------------------------------------------------------------------------------------------------

local function dissect_event(tree, tvb, pinfo, begin)
  if tvb:len() < begin + 8 then
    tree:add_proto_expert_info(e.malformed, "An event that is too short")
    return
  end
  tree:add_le(f.event, tvb(begin, 2))
  tree:add_le(f.code, tvb(begin + 2, 2))
  tree:add_le(f.value, tvb(begin + 4, 4))
  local words = names.event[tvb(begin, 2):le_uint()] or "event"
  if tvb:len() > begin + 8 then
    tree:add(f.event_text, tvb(begin + 8))
    words = words .. ": " .. tvb(begin + 8):string()
  end
  local code = tvb(begin + 2, 2):le_uint()
  if names.code[code] == "invalid_argument" then
    tree:add_proto_expert_info(e.violation, "A connection was ended for a broken rule")
  elseif code ~= 0 and names.code[code] ~= "cancelled" then
    tree:add_proto_expert_info(e.ended, "A connection was ended: " .. (names.code[code] or code))
  end
  pinfo.cols.info = words
end

local function read_header(tvb, begin, pseudo)
  return {
    length = tvb(begin, 4):le_uint(),
    type = tvb(begin + 4, 1):uint(),
    more = tvb(begin + 5, 1):uint() % 2 == MORE,
    id = tvb(begin + 8, 4):le_uint(),
    generation = tvb(begin + 12, 4):le_uint(),
    offset = offset_at(tvb, begin + 16),
    payload = begin + HEADER_BYTES,
    kept = tvb:len() - begin - HEADER_BYTES,
    connection = pseudo.connection,
    redacted = pseudo.flags % 2 == flag.REDACTED,
    unowned = math.floor(pseudo.flags / flag.UNOWNED) % 2 == 1,
    own = math.floor(pseudo.flags / flag.OWN) % 2 == 1,
  }
end

local function check_shape(tree, h, direction)
  local range = payload_range[h.type]
  if not range then
    tree:add_proto_expert_info(e.unknown, "A type of frame that is not known")
  elseif h.length < range[1] or h.length > range[2] then
    tree:add_proto_expert_info(e.violation, names.type[h.type] .. " with a payload of " .. h.length .. " bytes, allowed are " .. range[1] .. " to " .. range[2])
  end
  local senders = sent_by[h.type]
  if senders and not senders[direction] then
    tree:add_proto_expert_info(e.violation, names.type[h.type] .. " in a direction in which nobody may send it")
  end
  if (of_stream[h.type] or of_process[h.type]) and h.type ~= T.DETACHED and h.generation == 0 then
    tree:add_proto_expert_info(e.violation, names.type[h.type] .. " with generation 0")
  end
  if of_process[h.type] and h.id % 4 ~= 0 then
    tree:add_proto_expert_info(e.violation, names.type[h.type] .. " to a stream id, which is no process id")
  end
end

local function dissect_frame(tree, tvb, pinfo, begin, pseudo)
  if tvb:len() < begin + HEADER_BYTES then
    tree:add_proto_expert_info(e.malformed, "A frame without its whole header")
    return
  end
  local h = read_header(tvb, begin, pseudo)
  tree:add_le(f.length, tvb(begin, 4))
  tree:add(f.type, tvb(begin + 4, 1))
  local flags_tree = tree:add(f.frame_flags, tvb(begin + 5, 1))
  flags_tree:add(f.more, tvb(begin + 5, 1))
  tree:add_le(f.id, tvb(begin + 8, 4))
  tree:add_le(f.generation, tvb(begin + 12, 4))
  tree:add_le(f.offset, tvb(begin + 16, 8))
  check_shape(tree, h, pseudo.direction)

  local link = link_of()
  local about = found[pinfo.number]
  if not link then
    about = { told = {} }
  elseif not about then
    about = { told = {} }
    if h.type == T.REQUEST or h.type == T.RESPONSE then
      about = follow_request(link, tvb, h, pinfo.number, tonumber(tostring(pinfo.rel_ts)))
      about.time = tonumber(tostring(pinfo.rel_ts))
      about.told = {}
    else
      about.told = follow(link, tvb, h)
    end
    found[pinfo.number] = about
  end

  local words = names.type[h.type] or string.format("0x%02x", h.type)
  if of_stream[h.type] or of_process[h.type] then
    local number = math.floor(h.id / 4)
    tree:add(f.process, number):set_generated()
    local process = link and link.processes[number] or {}
    local who = "process " .. number
    if process.container then
      tree:add(f.container, process.container):set_generated()
      if process.exec ~= "" then tree:add(f.exec, process.exec):set_generated() end
      who = process.exec == "" and process.container or process.container .. "/" .. process.exec
    end
    if of_stream[h.type] then
      tree:add(f.stream, h.id % 4):set_generated()
      who = who .. " " .. names.stream[h.id % 4]
    end
    words = words .. " " .. who
  end
  local more
  if h.type == T.REQUEST or h.type == T.RESPONSE then
    more = request_payload(tree, tvb, h, about)
  elseif payloads[h.type] then
    more = payloads[h.type](tree, tvb, h)
  end
  if more and more ~= "" then words = words .. " " .. more end
  for _, one in ipairs(about.told) do tree:add_proto_expert_info(one[1], one[2]) end
  if h.unowned then tree:add_proto_expert_info(e.unowned, "The proxy gave this frame to nobody") end
  pinfo.cols.info = words
end

function coracle.dissector(tvb, pinfo, root)
  pinfo.cols.protocol = "Coracle"
  local tree = root:add(coracle, tvb())
  if tvb:len() < PSEUDO_HEADER_BYTES then
    tree:add_proto_expert_info(e.malformed, "A record without its pseudo header")
    return tvb:len()
  end
  tree:add(f.version, tvb(0, 1))
  tree:add(f.kind, tvb(1, 1))
  tree:add(f.direction, tvb(2, 1))
  local flags_tree = tree:add(f.flags, tvb(3, 1))
  for _, field in ipairs({ f.redacted, f.unowned, f.own }) do flags_tree:add(field, tvb(3, 1)) end
  tree:add_le(f.connection, tvb(4, 4))
  if tvb(8, 8):uint64() ~= UInt64(0) then tree:add(f.digest, tvb(8, 8)) end
  local pseudo = { direction = tvb(2, 1):uint(), flags = tvb(3, 1):uint(), connection = tvb(4, 4):le_uint() }
  local client = pseudo.connection == 0 and "nobody" or "client " .. pseudo.connection
  local ends = { [1] = { client, "agent" }, [2] = { "agent", client } }
  local route = ends[pseudo.direction] or { client == "nobody" and "link" or client, "" }
  pinfo.cols.src = route[1]
  pinfo.cols.dst = route[2]
  if tvb(0, 1):uint() ~= RECORD_VERSION then
    tree:add_proto_expert_info(e.unknown, "A record of version " .. tvb(0, 1):uint())
  elseif tvb(1, 1):uint() == kind.frame then
    dissect_frame(tree, tvb, pinfo, PSEUDO_HEADER_BYTES, pseudo)
  elseif tvb(1, 1):uint() == kind.event then
    dissect_event(tree, tvb, pinfo, PSEUDO_HEADER_BYTES)
  else
    tree:add_proto_expert_info(e.unknown, "A kind of record that is not known")
  end
  return tvb:len()
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, coracle)
