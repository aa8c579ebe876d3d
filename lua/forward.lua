-- Sends Radiarch's results on to DICOM nodes as soon as they are stored. Off until Orthanc's configuration has the
-- section "RadiarchForward"; the nodes are those of "DicomModalities".
--
--   "LuaScripts": [ "/usr/share/radiarch/lua/forward.lua" ],
--   "DicomModalities": { "tps": [ "TPS", "192.0.2.7", 104 ] },
--   "RadiarchForward": { "Modalities": [ "tps" ], "Kinds": [ "RTDOSE", "RTPLAN" ], "Retries": 10, "RetryAfterSeconds": 60 }
--
-- Each send is a job of Orthanc (GET /jobs). One that fails is tried again when something else is stored or becomes
-- stable in Orthanc, not before RetryAfterSeconds and at most Retries times (the values above are the defaults); each
-- failure is in the log. Tries are not remembered over a restart of Orthanc: then POST /modalities/{name}/store sends by
-- hand. A mistake in the section stops Orthanc at its start.

local MODALITIES_OF_KIND = { RTDOSE = 'RTDOSE', RTPLAN = 'RTPLAN' }

local configuration = GetOrthancConfiguration()
local section = configuration['RadiarchForward']

local function refuse(what, remedy)
  error('RadiarchForward in Orthanc\'s configuration: ' .. what .. ' ' .. remedy, 0)
end

local function read_kinds()
  local kinds = {}
  for _, kind in ipairs(section['Kinds'] or { 'RTDOSE', 'RTPLAN' }) do
    if not MODALITIES_OF_KIND[kind] then
      refuse('"' .. tostring(kind) .. '" in Kinds is not known.', 'Use RTDOSE and RTPLAN.')
    end
    kinds[MODALITIES_OF_KIND[kind]] = true
  end
  return kinds
end

local function read_targets()
  local targets = section['Modalities']
  if type(targets) ~= 'table' or #targets == 0 then
    refuse('there is no list Modalities.', 'Name nodes of DicomModalities, or remove the section.')
  end
  -- with DicomModalitiesInDatabase the nodes may still be added by REST
  if not configuration['DicomModalitiesInDatabase'] then
    for _, name in ipairs(targets) do
      if not (configuration['DicomModalities'] or {})[name] then
        refuse('"' .. tostring(name) .. '" is not in DicomModalities.', 'Add the node there.')
      end
    end
  end
  return targets
end

local function read_count(name, default)
  local value = section[name]
  if value == nil then return default end
  if type(value) ~= 'number' or value < 0 then
    refuse(name .. ' is "' .. tostring(value) .. '".', 'Give a number from 0 on.')
  end
  return value
end

if section ~= nil then
  if type(section) ~= 'table' then refuse('it is not an object.', 'Write { "Modalities": [ … ] }.') end
  local kinds, targets = read_kinds(), read_targets()
  local retries = read_count('Retries', 10)
  local retry_after_s = read_count('RetryAfterSeconds', 60)
  local running = {} -- job id -> send
  local failed = {} -- list of sends that wait for another try

  local function send(item)
    item.tries = item.tries + 1
    local answer = RestApiPost('/modalities/' .. item.target .. '/store',
                               DumpJson({ Resources = { item.instance }, Synchronous = false }, true))
    local job = answer and ParseJson(answer)
    if job and job['ID'] then
      running[job['ID']] = item
    else
      print('Radiarch forward: could not queue ' .. item.instance .. ' for ' .. item.target)
    end
  end

  local function retry_failed()
    local now, waiting = os.time(), failed
    failed = {}
    for _, item in ipairs(waiting) do
      if now - item.failed_at >= retry_after_s then send(item) else table.insert(failed, item) end
    end
  end

  function OnStoredInstance(instance, tags, metadata, origin)
    retry_failed()
    -- the worker stores results over REST; a copy that comes back from another node must not go round in circles
    if origin['RequestOrigin'] ~= 'RestApi' then return end
    if tags['Manufacturer'] ~= 'Radiarch' or not kinds[tags['Modality']] then return end
    for _, target in ipairs(targets) do send({ instance = instance, target = target, tries = 0 }) end
  end

  function OnStableSeries() retry_failed() end

  function OnJobSuccess(job)
    local item = running[job]
    if not item then return end
    running[job] = nil
    print('Radiarch forward: sent instance ' .. item.instance .. ' to ' .. item.target)
  end

  function OnJobFailure(job)
    local item = running[job]
    if not item then return end
    running[job] = nil
    local again = item.tries <= retries
    print('Radiarch forward: sending instance ' .. item.instance .. ' to ' .. item.target .. ' failed, ' ..
          (again and 'will be tried again' or 'given up; send it with POST /modalities/' .. item.target .. '/store'))
    if again then
      item.failed_at = os.time()
      table.insert(failed, item)
    end
  end

  print('Radiarch forward: results go to ' .. table.concat(targets, ', '))
end
