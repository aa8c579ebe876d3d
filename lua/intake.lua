-- Which objects Orthanc takes in over DICOM, by calling AE title and SOP class. Off until Orthanc's configuration has
-- the section "RadiarchIntake". What comes over REST (uploads, Radiarch's own results) is never filtered.
--
--   "LuaScripts": [ "/usr/share/radiarch/lua/intake.lua" ],
--   "RadiarchIntake": {
--     "Rules": [
--       { "CallingAet": "CT_SIM*", "Accept": [ "CT" ] },
--       { "CallingAet": "*", "Accept": [ "CT", "RTSTRUCT", "RTPLAN", "RTIONPLAN", "RTDOSE" ] }
--     ]
--   }
--
-- The first rule whose CallingAet fits (* and ? as wildcards, capitals matter) decides; no rule, no entry. "Accept" has names from
-- SOP_CLASSES below, UIDs, or "*". Note that Orthanc answers Success to the sender of an object that a filter drops:
-- each kind of loss is therefore in the log, at the 1st, 10th, 100th ... object. A mistake in the section stops Orthanc
-- at its start, since a filter that lets everything or nothing through would be noticed too late.

local SOP_CLASSES = {
  CT = { '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.5.1.4.1.1.2.1' },
  MR = { '1.2.840.10008.5.1.4.1.1.4', '1.2.840.10008.5.1.4.1.1.4.1' },
  PET = { '1.2.840.10008.5.1.4.1.1.128' },
  REG = { '1.2.840.10008.5.1.4.1.1.66.1', '1.2.840.10008.5.1.4.1.1.66.3' },
  SEG = { '1.2.840.10008.5.1.4.1.1.66.4' },
  RTIMAGE = { '1.2.840.10008.5.1.4.1.1.481.1' },
  RTDOSE = { '1.2.840.10008.5.1.4.1.1.481.2' },
  RTSTRUCT = { '1.2.840.10008.5.1.4.1.1.481.3' },
  RTRECORD = { '1.2.840.10008.5.1.4.1.1.481.4', '1.2.840.10008.5.1.4.1.1.481.9' },
  RTPLAN = { '1.2.840.10008.5.1.4.1.1.481.5' },
  RTIONPLAN = { '1.2.840.10008.5.1.4.1.1.481.8' },
  PDF = { '1.2.840.10008.5.1.4.1.1.104.1' },
}

local section = GetOrthancConfiguration()['RadiarchIntake']

local function refuse(what, remedy)
  error('RadiarchIntake in Orthanc\'s configuration: ' .. what .. ' ' .. remedy, 0)
end

local function trim(text)
  return (string.gsub(text or '', '^%s*(.-)%s*$', '%1'))
end

-- a wildcard as a Lua pattern that fits the whole text
local function to_pattern(wildcard)
  local pattern = string.gsub(wildcard, '[%^%$%(%)%%%.%[%]%+%-]', '%%%0')
  return '^' .. string.gsub(string.gsub(pattern, '%*', '.*'), '%?', '.') .. '$'
end

local function read_rule(number, entry)
  local where = 'rule ' .. number
  if type(entry) ~= 'table' or type(entry['CallingAet']) ~= 'string' or type(entry['Accept']) ~= 'table' then
    refuse(where .. ' has no CallingAet (text) or no Accept (list).', 'Give both.')
  end
  local accepted, everything = {}, false
  for _, name in ipairs(entry['Accept']) do
    if name == '*' then
      everything = true
    elseif SOP_CLASSES[name] then
      for _, uid in ipairs(SOP_CLASSES[name]) do accepted[uid] = true end
    elseif type(name) == 'string' and string.match(name, '^[0-9][0-9.]+$') then
      accepted[name] = true
    else
      refuse(where .. ' accepts "' .. tostring(name) .. '", which is no known name and no UID.',
             'Use CT, MR, PET, REG, SEG, RTIMAGE, RTDOSE, RTSTRUCT, RTRECORD, RTPLAN, RTIONPLAN, PDF, a UID or *.')
    end
  end
  return { pattern = to_pattern(trim(entry['CallingAet'])), accepted = accepted, everything = everything }
end

local function read_rules()
  if type(section) ~= 'table' or type(section['Rules']) ~= 'table' or #section['Rules'] == 0 then
    refuse('there is no list Rules with at least one rule.', 'Add one, or remove the section to switch the filter off.')
  end
  local rules = {}
  for number, entry in ipairs(section['Rules']) do rules[number] = read_rule(number, entry) end
  return rules
end

if section ~= nil then
  local rules = read_rules()
  local dropped = {}

  local function report(aet, sop_class)
    local key = aet .. ' ' .. sop_class
    local count = (dropped[key] or 0) + 1
    dropped[key] = count
    if string.match(tostring(count), '^10*$') then
      print('Radiarch intake: dropped SOP class ' .. sop_class .. ' from ' .. aet .. ', ' .. count .. ' so far')
    end
  end

  function ReceivedInstanceFilter(dicom, origin, info)
    if origin['RequestOrigin'] ~= 'DicomProtocol' then return true end
    local aet = trim(origin['RemoteAet'])
    local sop_class = trim(dicom['SOPClassUID'])
    for _, rule in ipairs(rules) do
      if string.match(aet, rule.pattern) then
        if rule.everything or rule.accepted[sop_class] then return true end
        break
      end
    end
    report(aet, sop_class)
    return false
  end

  print('Radiarch intake: ' .. #rules .. ' rule(s)')
end
