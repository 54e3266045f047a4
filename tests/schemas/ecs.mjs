// The list of ECS's fields, out of npm's @elastic/ecs (Apache-2.0), Elastic's own:
//   npm install @elastic/ecs@9.4.0 && node ecs.mjs > ecs-9.4.0.json
import ecs from "@elastic/ecs";

const fields = Object.entries(ecs.EcsFlat).map(([name, field]) => {
  const said = { type: field.type };
  if (field.normalize.includes("array")) said.array = true;
  if (field.pattern) said.pattern = field.pattern;
  if (field.allowed_values) {
    said.allowed = Object.fromEntries(field.allowed_values.map((one) => [one.name, one.expected_event_types ?? []]));
  }
  return `  ${JSON.stringify(name)}: ${JSON.stringify(said)}`;
});
console.log(`{"version": ${JSON.stringify(ecs.EcsVersion)}, "fields": {\n${fields.join(",\n")}\n}}`);
