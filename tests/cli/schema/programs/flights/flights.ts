// Lists the records of a vehicle, and runs the job that copies one.
import { Device, JobFailed, connect } from "./client.js";

const [, , url = "", version] = process.argv;
const connection = await connect(url, { organizationId: "acme", protocolVersion: version === "5" ? 5 : 4 });
const device = new Device(connection, "Instance-1");

const { records } = await device.flightLog.fetchRecords({ limit: 3 });
const job = await device.flightSync.syncRecord({ record_id: "a.ulg" }, { rate: 100 });
const seen: (number | undefined)[] = [];
for await (const update of job.updates()) seen.push(update.progress);
const none = await device.flightSync.syncRecord({ record_id: "none.ulg" });
const failed = await none.result().catch((error: unknown) => error);
const accepted = await device.flightSync.detectCard();
const found = await device.flightSync.detectCard({}, { secondPhase: true });
console.log(
  JSON.stringify({
    records: Array.isArray(records) && records.length,
    copied: (await job.result()).record_id,
    last: seen.at(-1),
    phases: [accepted.pending, found.records],
    failed: failed instanceof JobFailed && failed.code,
  }),
);
await connection.close();
