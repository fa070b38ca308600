import {existsSync} from "node:fs";
import puppeteer from "puppeteer-core";
import t from "tap";
import {startServer} from "../load/server-process.js";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));

t.test("the page in a browser", {skip: executablePath === undefined && "there is no Chromium; on Debian: apt-get install chromium"}, async (t) => {
    const {url, stop} = await startServer(["--sequences", "2", "--threads", "1"]);
    t.teardown(stop);
    const browser = await puppeteer.launch({executablePath: /** @type {string} */ (executablePath), args: ["--no-sandbox"]});
    t.teardown(() => browser.close());
    const page = await browser.newPage();
    /** @type {string[]} */
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
    await page.setViewport({width: 1200, height: 860});
    await page.goto(url);

    await page.type("#message", "When are you open on Saturday?");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => (document.querySelector("#messages .assistant")?.textContent ?? "") !== "");
    const early = await page.$eval("#messages .assistant", ({textContent}) => textContent ?? "");
    await page.waitForSelector("#messages .note", {timeout: 60_000});
    const whole = await page.$eval("#messages .assistant", ({textContent}) => textContent ?? "");
    t.ok(whole.length > early.length && whole.startsWith(early), "the answer grows");
    t.match(await page.$eval("#messages .note", ({textContent}) => textContent), /[1-9]\d* attached/);

    await page.waitForFunction(() => document.querySelectorAll("#sequences li").length === 2);
    const widths = await page.$$eval("#sequences .layers span, #memory .bar span", (bars) => bars.map((bar) => bar.getBoundingClientRect().width));
    t.equal(widths.length, 6);
    t.ok(widths.every((width) => width > 1), `bars of ${widths.map(Math.round).join(", ")} pixels`);
    t.match(await page.$$eval("#sequences .names", (rows) => rows.map(({textContent}) => textContent)), [/^system prompt/, /^chat 1/]);
    t.match(await page.$eval("#events", ({textContent}) => textContent), /attach/);

    await page.type("#message", "Tell me everything about the library.");
    await page.click("#send");
    await page.waitForFunction(() => (document.querySelectorAll("#messages .assistant")[1]?.textContent ?? "") !== "");
    await page.click("#stop");
    await page.waitForFunction(() => document.querySelector("#messages")?.textContent?.includes("stopped"));
    const screenshot = process.env["SCREENSHOT"];
    if (screenshot !== undefined)
        for (const value of ["light", "dark"]) {
            await page.emulateMediaFeatures([{name: "prefers-color-scheme", value}]);
            await page.screenshot({path: screenshot.replace(/\.png$/, `-${value}.png`)});
        }
    await page.click("#new");
    t.equal(await page.$$eval("#messages li", (rows) => rows.length), 0);
    t.strictSame(errors, []);
});
