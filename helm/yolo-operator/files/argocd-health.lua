-- Health of a YoloExperiment for Argo CD. Healthy: complete. Degraded: failed, refused, or waiting for a person.
-- Suspended: spec.suspend. Progressing: all else, with stage and percent. Argo CD opens no library but base and table.

local status = obj.status or {}

local function said(separator, ...)
  local words = {}
  for _, word in ipairs({...}) do
    if word ~= "" then
      table.insert(words, word)
    end
  end
  return table.concat(words, separator)
end

if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen this generation yet"}
end

local held, refused = {}, nil
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" then
    held[condition.type] = condition
  elseif condition.type == "Accepted" and condition.status == "False" then
    refused = condition
  end
end

local wrong = held.Failed or refused or held.Stalled
if wrong ~= nil then
  local message = wrong.message or ""
  if message == "" then
    message = status.message or ""
  end
  return {status = "Degraded", message = said(": ", wrong.reason or "", message)}
end
if held.Complete ~= nil then
  return {status = "Healthy", message = status.message or ""}
end
if held.Suspended ~= nil then
  return {status = "Suspended", message = said(" ", "suspended at", status.stage or "", status.progress or "")}
end

local place = said(" ", status.phase or "Pending", status.stage or "", status.progress or "")
return {status = "Progressing", message = said(": ", place, status.message or "")}
