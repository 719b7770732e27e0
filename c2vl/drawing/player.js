// Plays skeleton recordings in the page: C2VLPlayer(section) for each <section class="c2vl-player">.
// Joints are millimetres, x to the sensor's left, y up, z away from it; on screen, right is -x.
"use strict";
window.C2VLPlayer = window.C2VLPlayer || function (section) {
  const data = JSON.parse(section.querySelector("script[type='application/json']").textContent);
  const canvas = section.querySelector("canvas"), pen = canvas.getContext("2d");
  const play = section.querySelector(".play"), scrub = section.querySelector("input");
  const speed = section.querySelector("select"), readout = section.querySelector("output");
  const items = [...section.querySelectorAll("li")];
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const STEP = Math.max(500, Math.ceil(Math.max(...data.size) / 10000) * 500);
  let frame = 0, playing = data.autoplay && !calm, yaw = data.yaw, pitch = data.pitch;
  let before = null, listed = -1;

  const turn = (x, y, z) => {
    x = data.middle[0] - x; y -= data.middle[1]; z = data.middle[2] - z;
    const across = Math.cos(yaw) * x - Math.sin(yaw) * z;
    const deep = Math.sin(yaw) * x + Math.cos(yaw) * z;
    return [across, Math.cos(pitch) * y - Math.sin(pitch) * deep,
            Math.sin(pitch) * y + Math.cos(pitch) * deep];
  };
  const pale = (colour, body) => body === 0 ? colour : "#" + [1, 3, 5].map((at) => {
    const value = parseInt(colour.slice(at, at + 2), 16);
    return Math.round(value + 0.45 * (255 - value)).toString(16).padStart(2, "0");
  }).join("");

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    }
    const scale = Math.min(0.82 * height / data.size[1],
                           0.92 * width / Math.hypot(data.size[0], data.size[2]));
    const at = (point) => [width / 2 + scale * point[0], 0.47 * height - scale * point[1]];
    const line = (from, to, colour, thick) => {
      pen.strokeStyle = colour; pen.lineWidth = thick; pen.beginPath();
      pen.moveTo(...at(from)); pen.lineTo(...at(to)); pen.stroke();
    };
    const style = getComputedStyle(section);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.lineCap = "round";
    const [x, , z] = data.middle, [w, , d] = data.size, floor = data.floor;
    const range = (middle, wide) => [STEP * Math.floor((middle - wide / 2) / STEP - 0.3),
                                     STEP * Math.ceil((middle + wide / 2) / STEP + 0.3)];
    const [left, right] = range(x, w), [front, back] = range(z, d);
    const grid = style.getPropertyValue("--line");
    for (let i = left; i <= right; i += STEP) line(turn(i, floor, front), turn(i, floor, back), grid, 1);
    for (let i = front; i <= back; i += STEP) line(turn(left, floor, i), turn(right, floor, i), grid, 1);
    const centre = style.getPropertyValue("--centre").trim();  // lighter on a dark page
    const tone = (colour) => colour === data.centre ? centre : colour;
    const strokes = [], dots = [];
    const moment = Math.min(data.frames - 1, Math.floor(frame));
    data.bodies.forEach((frames, body) => {
      const flat = frames[moment];
      if (!flat) return;
      const joints = data.colours.map((_, j) => flat.slice(3 * j, 3 * j + 3));
      for (const [child, parent] of data.bones) {
        const [a, b] = [joints[child], joints[parent]];
        pen.globalAlpha = 0.25;
        line(turn(a[0], floor, a[2]), turn(b[0], floor, b[2]), style.getPropertyValue("--quiet"), 3);
        pen.globalAlpha = 1;
        strokes.push([turn(...a), turn(...b), pale(tone(data.colours[child]), body)]);
      }
      for (const joint of joints) dots.push(turn(...joint));
    });
    strokes.sort((a, b) => a[0][2] + a[1][2] - b[0][2] - b[1][2]);  // the nearest comes last
    for (const [a, b, colour] of strokes) line(a, b, colour, 5);
    pen.strokeStyle = style.getPropertyValue("--ink"); pen.fillStyle = "#ffffff"; pen.lineWidth = 0.8;
    for (const dot of dots) {
      pen.beginPath(); pen.arc(...at(dot), 2.2, 0, 2 * Math.PI); pen.fill(); pen.stroke();
    }
    say(moment);
  }

  function say(moment) {
    scrub.value = moment;
    play.textContent = playing ? "❚❚ Pause" : "▶ Play";
    const seconds = (count) => (count / data.fps).toFixed(1);
    readout.textContent = `frame ${moment + 1} of ${data.frames} · ` +
      `${seconds(moment)} of ${seconds(data.frames)} s`;
    let now = -1, nearest = Infinity;
    data.captions.forEach(([start, stop], number) => {
      const over = start <= moment && moment < stop;
      items[number].classList.toggle("over", over);
      const away = Math.abs(start + stop - 1 - 2 * moment);
      if (over && away < nearest) [now, nearest] = [number, away];
    });
    if (now === listed) return;
    items.forEach((item, number) => item.classList.toggle("now", number === now));
    listed = now;
    if (now >= 0) {  // scroll the list alone, never the page
      const item = items[now], list = item.parentElement;
      const top = item.offsetTop - list.offsetTop;
      if (top < list.scrollTop || top + item.offsetHeight > list.scrollTop + list.clientHeight) {
        list.scrollTop = top - list.clientHeight / 3;
      }
    }
  }

  function tick(now) {
    if (!playing) { before = null; return; }
    if (before !== null) frame += (now - before) / 1000 * data.fps * Number(speed.value);
    if (frame >= data.frames) frame %= data.frames;
    before = now;
    draw();
    requestAnimationFrame(tick);
  }
  function start(on) {
    if (on === playing) return;
    playing = on;
    if (on) requestAnimationFrame(tick);
    draw();
  }
  function go(to) {
    frame = Math.max(0, Math.min(data.frames - 1, to));
    draw();
  }

  play.onclick = () => start(!playing);
  scrub.oninput = () => { start(false); go(Number(scrub.value)); };
  items.forEach((item, number) => { item.onclick = () => go(data.captions[number][0]); });
  canvas.onpointerdown = (event) => canvas.setPointerCapture(event.pointerId);
  canvas.onpointermove = (event) => {
    if (!event.buttons) return;
    yaw += event.movementX / 120;
    pitch = Math.max(-1.5, Math.min(1.5, pitch + event.movementY / 120));
    draw();
  };
  canvas.ondblclick = () => { yaw = data.yaw; pitch = data.pitch; draw(); };
  canvas.onkeydown = (event) => {
    if (event.key === " ") start(!playing);
    else if (event.key === "ArrowRight") { start(false); go(Math.floor(frame) + 1); }
    else if (event.key === "ArrowLeft") { start(false); go(Math.floor(frame) - 1); }
    else return;
    event.preventDefault();
  };
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  if (playing) requestAnimationFrame(tick);
  draw();
};
