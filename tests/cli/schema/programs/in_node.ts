import { exercise } from "./exercise.js";

const [, , url = "", version] = process.argv;
console.log(JSON.stringify(await exercise(url, version === "5" ? 5 : 4)));
