// A person at a browser and at the command line: follows a client's link, reads
// the code, agrees as an operator, types the word, and ends where the client
// wants the browser back.
import assert from "node:assert/strict";

const plain = html => html.replaceAll("&amp;", "&").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll("&#39;", "'");

/** Follows a client's link to the page that waits for an operator. */
export async function openPage(link) {
    const begun = await fetch(link, { redirect: "manual" });
    assert.equal(begun.status, 303, `${link}: ${await begun.text()}`);
    const url = begun.headers.get("location");
    const cookie = begun.headers.get("set-cookie")?.split(";")[0];
    if (cookie === undefined) {
        return { back: new URL(url) };
    }
    const shown = await fetch(url, { headers: { cookie }, redirect: "manual" });
    assert.equal(shown.status, 200);
    const html = await shown.text();
    const code = /<output>([A-Z-]+)<\/output>/.exec(html)?.[1];
    assert.ok(code, html);
    return { url, cookie, code, html: plain(html) };
}

/** Posts the form of the page. */
export function postPage(page, fields) {
    return fetch(page.url, {
        method: "POST",
        redirect: "manual",
        headers: { cookie: page.cookie, "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams(fields).toString()
    });
}

/** Everything that people do; gives the address with which the browser goes back to the client. */
export async function agree(installation, link, words) {
    const page = await openPage(link);
    assert.ok(page.code, `no page: ${page.back}`);
    const allowed = await installation.cli(["consent", "allow", page.code, ...words]);
    const done = await postPage(page, { word: allowed.word, do: "continue" });
    assert.equal(done.status, 303, await done.text());
    return { back: new URL(done.headers.get("location")), allowed, page };
}
