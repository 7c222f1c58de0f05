-- Lets values live on that are still there.
--
-- KEYS: keys of values.
-- ARGV: seconds that each lives from now on.

for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[1]) end
