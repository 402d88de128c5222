// Places in a picture as it is stored and as it is seen once turned and mirrored; both as shares of its sides.

// The seen place of a stored one.
export function toSeen({ turns, mirror }, [x, y]) {
  for (let i = 0; i < turns; i += 1) [x, y] = [1 - y, x];
  return [mirror ? 1 - x : x, y];
}

// The stored place of a seen one.
export function toStored({ turns, mirror }, [x, y]) {
  if (mirror) x = 1 - x;
  for (let i = 0; i < turns; i += 1) [x, y] = [y, 1 - x];
  return [x, y];
}

const boxOf = ([ax, ay], [bx, by]) => [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
export const boxToSeen = (edit, [l, t, r, b]) => boxOf(toSeen(edit, [l, t]), toSeen(edit, [r, b]));
export const boxToStored = (edit, [l, t, r, b]) => boxOf(toStored(edit, [l, t]), toStored(edit, [r, b]));

// The edit with the picture turned by a quarter or mirrored as it is seen now.
export function turned(edit, action) {
  if (action === 'mirror') return { ...edit, mirror: !edit.mirror };
  const way = action === 'right' ? 1 : 3;
  return { ...edit, turns: (edit.turns + (edit.mirror ? 4 - way : way)) % 4 };
}

// What a shape takes of a box (all seen, shares of a picture of width × height px): as much as it can, around the focal point.
export function kept(box, focus, [shapeWidth, shapeHeight], width, height) {
  const [left, top, right, bottom] = box, boxWidth = (right - left) * width, boxHeight = (bottom - top) * height;
  const scale = Math.min(boxWidth / shapeWidth, boxHeight / shapeHeight), w = shapeWidth * scale / width, h = shapeHeight * scale / height;
  const [x, y] = focus || [(left + right) / 2, (top + bottom) / 2];
  const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
  const l = clamp(x - w / 2, left, right - w), t = clamp(y - h / 2, top, bottom - h);
  return [l, t, l + w, t + h];
}

// Draw a picture on a context as it is seen, filling width × height.
export function drawSeen(context, image, edit, width, height) {
  context.save();
  context.translate(width / 2, height / 2);
  if (edit.mirror) context.scale(-1, 1);
  context.rotate(edit.turns * Math.PI / 2);
  const [w, h] = edit.turns % 2 ? [height, width] : [width, height];
  context.drawImage(image, -w / 2, -h / 2, w, h);
  context.restore();
}
