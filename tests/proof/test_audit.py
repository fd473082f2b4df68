"""The static audit: each rule finds its line, leaves the mended code alone, and can be suppressed; clean code stays clean."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seedbed import Refused, project_root, proofs
from seedbed.proof import audit, rules
from seedbed.proof.rules import estimators


@dataclass(frozen=True)
class Row:
    """A fault, `#!` at the end of each line that is to be found, and the same code mended."""

    code: str
    fault: str
    mended: str


def row(code: str, fault: str, mended: str) -> Row:
    return Row(code, textwrap.dedent(fault).strip() + "\n", textwrap.dedent(mended).strip() + "\n")


ROWS = [
    row("SB000", "x = 1  # seedbed: ignore[SB101] was needed once #!", "x = 1"),
    row("SB000", "x = 1  # seedbed: ignore #!", "x = 1"),
    row("SB000", "x = 1  # seedbed: ignore[SB999] #!", 'x = "# seedbed: ignore[SB101]"'),
    row("SB001", "x = (1 #!\n", "x = (1)"),
    # --- generators and seeds
    row("SB101", "import numpy as np\nrng = np.random.default_rng() #!", "import numpy as np\nrng = np.random.default_rng(0)"),
    row("SB101", "from numpy.random import default_rng as rng\ng = rng(None) #!", "from numpy.random import default_rng as rng\ng = rng(7)"),
    row("SB101", "import numpy.random as r\ng = r.Generator(r.PCG64()) #!", "import numpy.random as r\ng = r.Generator(r.PCG64(1))"),
    row("SB101", "import numpy as np\ng = np.random.RandomState(seed=None) #!", "import numpy as np\ng = np.random.RandomState(seed=3)"),
    row("SB101", "import numpy as np\nseed = None\ns = np.random.SeedSequence(seed) #!", "import numpy as np\ndef f(seed):\n    return np.random.SeedSequence(seed)"),
    row(
        "SB101",
        """
        import numpy as np
        from dataclasses import dataclass, field

        @dataclass
        class Data:
            rng: object = field(default_factory=np.random.default_rng) #!
        """,
        """
        import numpy as np
        from dataclasses import dataclass, field

        @dataclass
        class Data:
            rng: object = field(default_factory=lambda: np.random.default_rng(0))
        """,
    ),
    row("SB102", "import random\nx = random.choice('ab') #!", "import random\nx = random.Random(1).choice('ab')"),
    row("SB102", "from random import shuffle as mix\nx = [1, 2]\nmix(x) #!", "def f(random):\n    return random.choice('ab')"),
    row("SB102", "import random\ndraw = random.gauss\ny = draw(0, 1) #!", "import random\nrandom = random.Random(3)\ny = random.gauss(0, 1)"),
    row("SB102", "import random\ndef f(x):\n    random.shuffle(x) #!", "import random\ndef f(x, seed):\n    random.seed(seed)\n    random.shuffle(x)"),
    row("SB103", "import random\nr = random.Random() #!", "import random\nr = random.Random(5)"),
    row("SB103", "import random\nrandom.seed() #!", "import random\nrandom.seed(0)"),
    row("SB103", "import numpy as np\nnp.random.seed(None) #!", "import numpy as np"),
    row("SB104", "import os\nx = int.from_bytes(os.urandom(4), 'big') % 7 #!", "import os\nname = os.urandom(8).hex()"),
    row("SB104", "import random\nr = random.SystemRandom() #!", "import random\nr = random.Random(1)"),
    row("SB104", "import secrets\nx = secrets.choice([1, 2]) #!", "import secrets\nname = secrets.token_hex(8)"),
    row("SB104", "import uuid\nx = uuid.uuid4().int % 2 #!", "import uuid\nname = f'run-{uuid.uuid4().hex}'"),
    row("SB104", "import uuid\nx = sorted([1, 2], key=lambda one: uuid.uuid4()) #!", "import uuid\nx = str(uuid.uuid4())"),
    row("SB105", "import time\nimport numpy as np\nr = np.random.default_rng(int(time.time())) #!", "import time\nstarted = time.time()\nprint(time.time() - started)"),
    row("SB105", "import os, random\nrandom.seed(os.getpid()) #!", "import os, random\nrandom.seed(1)\nprint(os.getpid())"),
    row("SB105", "from datetime import datetime\nseed = datetime.now().microsecond #!", "from datetime import datetime\nstamp = datetime.now().isoformat()"),
    row("SB105", "def f(split, name):\n    return split(random_state=abs(hash(name)) % 100) #!", "import zlib\ndef f(split, name):\n    return split(random_state=zlib.crc32(name.encode()))"),
    row("SB105", "import time\nnow = time.time_ns()\ndef f(split):\n    return split(seed=now) #!", "import time\nnow = time.time_ns()\ndef f(split):\n    return split(since=now)"),
    row("SB105", "import uuid\nconfig = {'seed': uuid.uuid4().int} #!", "import uuid\nconfig = {'seed': 1, 'name': uuid.uuid4().hex}"),
    row("SB105", "import time\ndef f(x, seed=time.time()): #!\n    return x", "def f(x, seed=1):\n    return x"),
    row("SB106", "def f(seed):\n    if seed: #!\n        return 1", "def f(seed):\n    if seed is not None:\n        return 1"),
    row("SB106", "def f(cfg):\n    return cfg.seed or 42 #!", "def f(cfg):\n    return 42 if cfg.seed is None else cfg.seed"),
    row("SB106", "def f(cfg):\n    if cfg.get('seed') and cfg.fast: #!\n        return 1", "def f(cfg):\n    if 'seed' in cfg:\n        return 1"),
    row("SB106", "def f(cfg):\n    return 1 if not cfg['random_state'] else 2 #!", "def f(cfg, use_seed, seeds):\n    return 1 if not use_seed or not seeds else 2"),
    row("SB106", "def f(args):\n    if (seed := args.master_seed): #!\n        return seed", "def f(seed: bool = True):\n    return 1 if seed else 2"),
    row("SB107", "import keras\ndef model():\n    keras.utils.set_random_seed(42) #!", "import keras\ndef model(seed):\n    keras.utils.set_random_seed(seed)"),
    row("SB107", "import tensorflow as tf\ndef data():\n    tf.random.set_seed(0) #!", "import tensorflow as tf\ndef main():\n    tf.random.set_seed(0)"),
    row("SB107", "import numpy as np\ndef data():\n    np.random.seed(1) #!", "import numpy as np\ndef data(seed):\n    return np.random.default_rng(seed)"),
    row("SB108", "import tensorflow as tf\ng = tf.random.Generator.from_non_deterministic_state() #!", "import tensorflow as tf\ng = tf.random.Generator.from_seed(1)"),
    row("SB108", "import tensorflow as tf\ng = tf.random.experimental.get_global_generator() #!", "import tensorflow as tf\ng = tf.random.Generator.from_seed(1)"),
    row("SB108", "from tensorflow import raw_ops\nx = raw_ops.NonDeterministicInts(shape=[1]) #!", "from tensorflow import raw_ops\nx = raw_ops.StatelessRandomGetAlg()"),
    row("SB109", "from sklearn.model_selection import train_test_split\nparts = train_test_split([1, 2, 3]) #!", "from sklearn.model_selection import train_test_split\nparts = train_test_split([1, 2, 3], random_state=0)"),
    row("SB109", "from sklearn.model_selection import KFold\nk = KFold(5, shuffle=True) #!", "from sklearn.model_selection import KFold\nk = KFold(5)"),
    row("SB109", "from sklearn.ensemble import RandomForestClassifier as RF\nm = RF(10, random_state=None) #!", "from sklearn.ensemble import RandomForestClassifier as RF\nm = RF(10, random_state=1)"),
    row("SB109", "from sklearn.linear_model import LogisticRegression\nm = LogisticRegression(solver='saga') #!", "from sklearn.linear_model import LogisticRegression\nm = LogisticRegression()"),
    row("SB109", "import sklearn.cluster\nm = sklearn.cluster.KMeans(3) #!", "import sklearn.cluster\nm = sklearn.cluster.KMeans(3)\nm.set_params(random_state=2)"),
    row("SB109", "from sklearn.tree import DecisionTreeClassifier\nfrom sklearn.ensemble import StackingClassifier\nm = StackingClassifier([('a', DecisionTreeClassifier())]) #!", "from sklearn.tree import DecisionTreeClassifier\nfrom sklearn.ensemble import AdaBoostClassifier\nm = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), random_state=0)"),
    row("SB109", "from sklearn.utils import shuffle\ndef f(x):\n    return shuffle(x) #!", "from sklearn.utils import shuffle\ndef f(x, **more):\n    return shuffle(x, **more)"),
    row("SB109", "from sklearn import svm\nm = svm.SVC(probability=True) #!\nn = svm.LinearSVC() #!", "from sklearn import svm\nm = svm.SVC()\nn = svm.LinearSVC(dual=False)"),
    row("SB110", "import pandas as pd\ntable = pd.read_csv('x.csv')\npart = table[table.a > 1].sample(9) #!", "import pandas as pd\ntable = pd.read_csv('x.csv')\npart = table.sample(9, random_state=0)"),
    row("SB110", "def f(df):\n    return df.sample(frac=0.5) #!", "def f(rng):\n    return rng.sample([1, 2, 3], 2)"),
    row("SB110", "from scipy import stats\nx = stats.norm.rvs(size=3) #!", "from scipy import stats\nx = stats.norm.rvs(size=3, random_state=1)"),
    # --- order and memory
    row("SB201", "def f(text):\n    for word in set(text.split()): #!\n        yield word", "def f(text):\n    for word in sorted(set(text.split())):\n        yield word"),
    row("SB201", "def f(words):\n    vocabulary = set(words)\n    return {w: i for i, w in enumerate(vocabulary)} #!", "def f(words):\n    vocabulary = sorted(set(words))\n    return {w: i for i, w in enumerate(vocabulary)}"),
    row("SB201", "def f(words):\n    return list({w.lower() for w in words}) #!", "def f(words):\n    names = list({w.lower() for w in words})\n    names.sort()\n    return names"),
    row("SB201", "CLASSES = {'cat', 'dog'}\ndef f():\n    return [c.upper() for c in CLASSES] #!", "CLASSES = {'cat', 'dog'}\ndef f(c):\n    return c in CLASSES and len(CLASSES)"),
    row("SB201", "def f(a, b):\n    both = set(a).union(b)\n    return tuple(both) #!", "def f(a, b):\n    both = set(a).union(b)\n    return max(both), len(tuple(both)), frozenset(both)"),
    row("SB201", "def f(a, b):\n    return ','.join(a.keys() - b.keys()) #!", "def f(a, b):\n    if a.keys() - b.keys():\n        raise ValueError(', '.join(a.keys() - b.keys()))"),
    row("SB201", "import numpy as np\ndef f(a: set[str]):\n    return np.array(list(a)) #!", "import numpy as np\ndef f(a: set[int]):\n    return np.array(list(a)), list({1, 2}), list(set(range(9)))"),
    row("SB201", "def vocabulary(text):\n    return set(text)\ndef f(text):\n    return [*vocabulary(text)] #!", "def vocabulary(text):\n    return set(text)\ndef f(text):\n    return {*vocabulary(text)}"),
    row("SB201", "class A:\n    def __init__(self, x):\n        self.words = set(x)\n    def f(self):\n        return dict(zip(self.words, range(9))) #!", "class A:\n    def __init__(self, x):\n        self.words = set(x)\n    def f(self):\n        return dict(zip(sorted(self.words), range(9)))"),
    row("SB201", "def f(rng, words):\n    table = {}\n    for word in set(words): #!\n        table[word] = rng.normal()\n    return table", "def f(words, counts):\n    table = {}\n    for word in set(words):\n        table[word] = counts[word]\n    return table"),
    row("SB201", "def encode(names):\n    return {n: i for i, n in enumerate(names)}\ndef f(x):\n    return encode(set(x)) #!", "def encode(names):\n    return {n: i for i, n in enumerate(sorted(names))}\ndef f(x):\n    return encode(set(x))"),
    row("SB201", "import tensorflow as tf\ndef f(x):\n    return tf.constant(list(set(x))) #!", "import numpy as np\ndef f(x, df):\n    return np.unique(list(set(x))), df[df.a.isin(list(set(x)))]"),
    row("SB201", "def f(x):\n    s = set(x)\n    return s.pop() #!", "def f(x):\n    s = set(x)\n    if len(s) != 1:\n        raise ValueError(s)\n    return s.pop()"),
    row("SB201", "def f(words):\n    index = {}\n    for word in set(words): #!\n        index[word] = len(index)\n    return index", "def f(words):\n    counts = {}\n    for word in set(words):\n        counts[word] = counts.get(word, 0) + 1\n    return counts"),
    row("SB201", "def f(words):\n    index = {}\n    for word in set(words): #!\n        index.setdefault(word, len(index))\n    return index", "def f(words, old):\n    lengths = {}\n    for word in set(words):\n        lengths[word] = len(word)\n    return lengths[old]"),
    row("SB201", "def f(labels):\n    return max(set(labels), key=labels.count) #!", "def f(labels):\n    return max(sorted(set(labels)), key=labels.count)"),
    row("SB201", "from collections import Counter\ndef f(words):\n    counts = Counter(words)\n    return sorted(set(words), key=lambda w: -counts[w]) #!", "from collections import Counter\ndef f(words):\n    counts = Counter(words)\n    return sorted(set(words), key=lambda w: (-counts[w], w))"),
    row("SB202", "import os\ndef f(d):\n    for name in os.listdir(d): #!\n        yield name", "import os\ndef f(d):\n    for name in sorted(os.listdir(d)):\n        yield name"),
    row("SB202", "from glob import glob\ndef f():\n    files = glob('*.png') #!\n    return files", "from glob import glob\ndef f():\n    files = glob('*.png')\n    files.sort()\n    return files"),
    row("SB202", "from pathlib import Path\ndef f(d):\n    return [p.name for p in Path(d).rglob('*')] #!", "from pathlib import Path\ndef f(d):\n    return sorted(p.name for p in Path(d).rglob('*')), sum(1 for p in Path(d).iterdir())"),
    row("SB202", "def f(folder):\n    return folder.iterdir() #!", "def listed(folder):\n    return folder.iterdir()\ndef f(folder):\n    return sorted(listed(folder))"),
    row("SB202", "import numpy as np\ndef f(d):\n    return np.stack([np.load(p) for p in d.glob('*.npy')]) #!", "def f(d):\n    for old in d.glob('*.tmp'):\n        old.unlink()\n    return any(d.glob('*.npy'))"),
    row("SB202", "import os\ndef f(d):\n    found = []\n    for root, dirs, names in os.walk(d): #!\n        for name in names:\n            found.append(os.path.join(root, name))\n    return found", "import os\ndef f(d):\n    found = []\n    for root, dirs, names in os.walk(d):\n        for name in names:\n            found.append(os.path.join(root, name))\n    return sorted(found)"),
    row("SB202", "import os\ndef f(d):\n    for root, dirs, names in os.walk(d): #!\n        dirs.sort()\n        for name in names:\n            yield root, name", "import os\ndef f(d):\n    for root, dirs, names in os.walk(d):\n        dirs.sort()\n        for name in sorted(names):\n            yield root, name"),
    row("SB202", "import tensorflow as tf\ndef f(d):\n    names = tf.io.gfile.listdir(d) #!\n    return tf.constant(names)", "import tensorflow as tf\ndef f(d):\n    names = tf.io.gfile.listdir(d)\n    names = sorted(names)\n    return tf.constant(names)"),
    row("SB202", "import os\ndef f(d):\n    images = {}\n    for e in os.scandir(d): #!\n        images[e.name] = open(e).read()\n    return list(images.values())", "import os\ndef f(d, wanted):\n    images = {}\n    for e in os.scandir(d):\n        images[e.name] = open(e).read()\n    return [images[name] for name in wanted]"),
    row("SB202", "import os\ndef f(d):\n    total = 0.0\n    for n in os.listdir(d): #!\n        total += float(open(n).read())\n    return total", "import os\ndef f(d):\n    count = 0\n    for n in os.listdir(d):\n        if n.endswith('.png'):\n            count += 1\n    return count"),
    row("SB202", "def f(d):\n    first = next(d.glob('*.csv')) #!\n    return first", "def f(d):\n    found = list(d.glob('*.csv'))\n    if len(found) != 1:\n        raise ValueError(found)\n    return found[0]"),
    row("SB203", "def f(name):\n    return hash(name) % 10 < 2 #!", "import zlib\ndef f(name):\n    return zlib.crc32(name.encode()) % 10 < 2, hash(3) % 2"),
    row("SB203", "def f(x):\n    return sorted(x, key=id) #!", "def f(x):\n    return sorted(x, key=len)"),
    row("SB203", "def f(x):\n    x.sort(key=lambda one: hash(one.name)) #!", "class A:\n    def __hash__(self):\n        return hash(self.name) % 2**31"),
    row("SB204", "from concurrent.futures import ThreadPoolExecutor\ndef f(paths, load):\n    out = []\n    def work(p):\n        out.append(load(p))\n    with ThreadPoolExecutor(4) as pool:\n        for p in paths:\n            pool.submit(work, p) #!\n    return out", "from concurrent.futures import ThreadPoolExecutor\ndef f(paths, load):\n    out = []\n    def work(p):\n        out.append(load(p))\n    with ThreadPoolExecutor(4) as pool:\n        for p in paths:\n            pool.submit(work, p)\n    out.sort()\n    return out"),
    row("SB204", "import threading\ndef f(paths):\n    out = []\n    threads = [threading.Thread(target=lambda p=p: out.append(p)) for p in paths] #!\n    return threads, out", "from concurrent.futures import ThreadPoolExecutor\ndef f(paths, load):\n    with ThreadPoolExecutor(4) as pool:\n        return list(pool.map(load, paths))"),
    row("SB204", "import queue\nfrom threading import Thread\ndef f(paths):\n    q = queue.Queue()\n    threads = [Thread(target=q.put, args=(p,)) for p in paths] #!\n    return threads, [q.get() for _ in paths]", "from concurrent.futures import ThreadPoolExecutor\ndef f(paths):\n    def work(p):\n        mine = []\n        mine.append(p)\n        return mine\n    with ThreadPoolExecutor(4) as pool:\n        return [one.result() for one in [pool.submit(work, p) for p in paths]]"),
    row("SB204", "import asyncio\nasync def f(tasks):\n    done, rest = await asyncio.wait(tasks) #!\n    return [one.result() for one in done]", "from concurrent.futures import wait\ndef f(futures):\n    wait(futures)\n    return [one.result() for one in futures]"),
    row("SB202", "from pathlib import Path\ndef f(d, load):\n    x, y = [], []\n    for p in Path(d).glob('*.npy'): #!\n        x.append(load(p)), y.append(p.stem)\n    return x, y", "from pathlib import Path\ndef f(d, load):\n    x, y = [], []\n    for p in sorted(Path(d).glob('*.npy')):\n        x.append(load(p)), y.append(p.stem)\n    return x, y"),
    row("SB202", "from pathlib import Path\ndef f(d, load):\n    x, y = [], []\n    [(x.append(load(p)), y.append(p.stem)) for p in Path(d).glob('*.npy')] #!\n    return x, y", "from pathlib import Path\ndef f(d):\n    [p.unlink() for p in Path(d).glob('*.tmp')]"),
    row("SB204", "from multiprocessing import Pool\ndef f(work, x):\n    with Pool(2) as pool:\n        return list(pool.imap_unordered(work, x)) #!", "from multiprocessing import Pool\ndef f(work, x):\n    with Pool(2) as pool:\n        return list(pool.imap(work, x)), sorted(pool.imap_unordered(work, x))"),
    row("SB204", "from concurrent.futures import as_completed\ndef f(futures):\n    out = []\n    for one in as_completed(futures): #!\n        out.append(one.result())\n    return out", "from concurrent.futures import as_completed\ndef f(futures):\n    out = [None] * len(futures)\n    for one in as_completed(futures):\n        out[futures[one]] = one.result()\n    return out"),
    row("SB205", "import numpy as np\ndef f(x):\n    total = np.empty(3) #!\n    total += x\n    return total", "import numpy as np\ndef f(x):\n    total = np.empty(3)\n    total[:] = 0\n    total += x\n    return total, np.empty((0, 3)) + 1"),
    # --- input pipelines
    row(
        "SB301",
        """
        import tensorflow as tf

        def noisy(x):
            return x + tf.random.normal(tf.shape(x))

        def data(x):
            return (
                tf.data.Dataset.from_tensor_slices(x)
                .map(noisy, num_parallel_calls=tf.data.AUTOTUNE) #!
                .batch(32)
            )
        """,
        """
        import tensorflow as tf

        def noisy(x, seed):
            return x + tf.random.stateless_normal(tf.shape(x), seed)

        def plain(x):
            return x + tf.random.normal(tf.shape(x))

        def data(x, seeds):
            quick = tf.data.Dataset.from_tensor_slices((x, seeds)).map(noisy, num_parallel_calls=tf.data.AUTOTUNE)
            return quick, tf.data.Dataset.from_tensor_slices(x).map(plain), quick.map(plain, num_parallel_calls=1)
        """,
    ),
    row("SB301", "import tensorflow as tf\ndef f(ds):\n    return ds.map(lambda x: tf.image.random_flip_left_right(x), num_parallel_calls=4) #!", "import tensorflow as tf\ndef f(ds, s):\n    return ds.map(lambda x: tf.image.stateless_random_flip_left_right(x, s), num_parallel_calls=4)"),
    row(
        "SB301",
        """
        import numpy as np
        import tensorflow as tf

        rng = np.random.default_rng(0)

        def noise(x):
            return x + rng.normal(size=x.shape)

        def load(x):
            return tf.numpy_function(noise, [x], tf.float32)

        def data(ds):
            return ds.map(load, num_parallel_calls=8) #!
        """,
        """
        import numpy as np
        import tensorflow as tf

        def noise(x, i):
            rng = np.random.default_rng([0, i])
            return x + rng.normal(size=x.shape)

        def load(x, i):
            return tf.numpy_function(noise, [x, i], tf.float32)

        def data(ds):
            return ds.map(load, num_parallel_calls=8)
        """,
    ),
    row("SB301", "import keras\naugment = keras.Sequential([keras.layers.RandomFlip(seed=1)])\ndef f(ds):\n    return ds.map(lambda x, y: (augment(x), y), num_parallel_calls=2) #!", "import keras\nscale = keras.Sequential([keras.layers.Rescaling(1 / 255)])\ndef f(ds):\n    return ds.map(lambda x, y: (scale(x), y), num_parallel_calls=2)"),
    row("SB302", "def f(ds, load):\n    return ds.map(load, num_parallel_calls=4, deterministic=False) #!", "def f(ds, load, model):\n    return ds.map(load, num_parallel_calls=4), model.predict(1, deterministic=False)"),
    row("SB302", "import tensorflow as tf\noptions = tf.data.Options()\noptions.deterministic = False #!", "import tensorflow as tf\noptions = tf.data.Options()\noptions.deterministic = True"),
    row("SB302", "import tensorflow as tf\no = tf.data.Options()\no.experimental_deterministic = False #!", "def f(trainer):\n    trainer.deterministic = False"),
    row("SB303", "import tensorflow as tf\nd = tf.data.Dataset.list_files('*.png') #!", "import tensorflow as tf\nd = tf.data.Dataset.list_files('*.png', shuffle=False)\ne = tf.data.Dataset.list_files('*.png', seed=1)"),
    row("SB304", "import tensorflow as tf\nd = tf.data.Dataset.range(9).shuffle(9) #!", "import tensorflow as tf\nd = tf.data.Dataset.range(9).shuffle(9, seed=1)"),
    row("SB304", "def f(train_ds):\n    return train_ds.shuffle(100, reshuffle_each_iteration=True).batch(2) #!", "def f(rng, items):\n    rng.shuffle(items)\n    return items"),
    row("SB304", "import keras\nd = keras.utils.image_dataset_from_directory('x') #!", "import keras\nd = keras.utils.image_dataset_from_directory('x', seed=1)\ne = keras.utils.image_dataset_from_directory('x', shuffle=False)"),
    row(
        "SB305",
        """
        import keras
        import numpy as np

        class Batches(keras.utils.PyDataset):
            def __init__(self):
                super().__init__(workers=4, use_multiprocessing=True)
                self.rng = np.random.default_rng(0)

            def __getitem__(self, index):
                return self.rng.normal(size=3) #!
        """,
        """
        import keras
        import numpy as np

        class Batches(keras.utils.PyDataset):
            def __init__(self, epoch):
                super().__init__(workers=4, use_multiprocessing=True)
                self.epoch = epoch

            def __getitem__(self, index):
                rng = np.random.default_rng([0, self.epoch, index])
                return rng.normal(size=3)
        """,
    ),
    row(
        "SB305",
        """
        import keras, random

        class Batches(keras.utils.Sequence):
            def __getitem__(self, index):
                return self.noise(index)

            def noise(self, index):
                return random.gauss(0, 1) #!

        data = Batches(use_multiprocessing=True)
        """,
        """
        import keras, random

        class Batches(keras.utils.Sequence):
            def __getitem__(self, index):
                return random.Random(index).gauss(0, 1)

        data = Batches(use_multiprocessing=True)
        """,
    ),
    row("SB305", "import numpy as np\nfrom multiprocessing import Pool\nrng = np.random.default_rng(0)\ndef work(i):\n    return rng.normal()\ndef f():\n    with Pool(2) as pool:\n        return pool.map(work, range(9)) #!", "import numpy as np\nfrom multiprocessing import Pool\ndef work(seed):\n    rng = np.random.default_rng(seed)\n    return rng.normal()\ndef f():\n    with Pool(2) as pool:\n        return pool.map(work, range(9))"),
    row("SB305", "import keras\nfrom joblib import Parallel, delayed\ndef work(i):\n    return keras.random.normal((3,))\nx = Parallel(2)(delayed(work)(i) for i in range(9)) #!", "import keras\nfrom joblib import Parallel, delayed\ndef work(i):\n    return keras.random.normal((3,), seed=1)\nx = Parallel(2)(delayed(work)(i) for i in range(9))"),
    # --- process and machine
    row("SB401", "import os\nos.environ['PYTHONHASHSEED'] = '0' #!", "import os, subprocess\nsubprocess.run(['python'], env={**os.environ, 'PYTHONHASHSEED': '0'})"),
    row("SB401", "import os\nos.environ.setdefault('PYTHONHASHSEED', '0') #!\nos.environ.update(PYTHONHASHSEED='0') #!\nos.putenv('PYTHONHASHSEED', '0') #!", "import os, sys\nos.environ['PYTHONHASHSEED'] = '0'\nos.execv(sys.executable, sys.argv)"),
    row("SB402", "import os\nimport tensorflow as tf\nos.environ['TF_ENABLE_ONEDNN_OPTS'] = '0' #!", "import os\nos.environ['TF_ENABLE_ONEDNN_OPTS'] = '0'\nimport tensorflow as tf"),
    row("SB402", "import os\nfrom keras import layers\ndef f():\n    os.environ.update({'KERAS_BACKEND': 'jax'}) #!", "import os\nfrom keras import layers\ndef f():\n    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'"),
    row("SB403", "import tensorflow as tf\ntf.config.threading.set_intra_op_parallelism_threads = 1 #!", "import tensorflow as tf\ntf.config.threading.set_intra_op_parallelism_threads(1)"),
    row("SB403", "import tensorflow as tf\ntf.config.experimental.enable_op_determinism #!", "import tensorflow as tf\ntf.config.experimental.enable_op_determinism()"),
    row("SB404", "import os\nimport tensorflow as tf\nn = os.cpu_count() or 1\ntf.config.threading.set_intra_op_parallelism_threads(n) #!", "import os\nfrom multiprocessing import Pool\ndef f(work, x):\n    with Pool(os.cpu_count()) as pool:\n        return pool.map(work, x)"),
    row("SB404", "import os\nos.environ['OMP_NUM_THREADS'] = str(os.cpu_count()) #!", "import os\nos.environ['OMP_NUM_THREADS'] = '1'"),
    row("SB405", "import locale\nlocale.setlocale(locale.LC_ALL, '') #!", "import locale\nlocale.setlocale(locale.LC_ALL, 'C')"),
    row("SB406", "import os\nunits = int(os.environ['UNITS']) #!", "import os\ndef f(units):\n    os.environ['UNITS'] = str(units)"),
    row("SB406", "from os import getenv\nunits = getenv('UNITS', '3') #!", "import os\npath = os.path.join('a', 'b')"),
    row("SB405", "import time\ndef f(t):\n    return time.localtime(t).tm_hour #!", "import time\ndef f(t):\n    return time.gmtime(t).tm_hour, time.localtime()"),
    # --- ruff's
    row("NPY002", "import numpy as np\nx = np.random.rand(3) #!", "import numpy as np\nx = np.random.default_rng(1).random(3)"),
    row("DTZ006", "from datetime import datetime\ndef f(t):\n    return datetime.fromtimestamp(t).hour #!", "from datetime import UTC, datetime\ndef f(t):\n    return datetime.fromtimestamp(t, tz=UTC).hour"),
    row("DTZ012", "from datetime import date\ndef f(t):\n    return date.fromtimestamp(t) #!", "from datetime import UTC, datetime\ndef f(t):\n    return datetime.fromtimestamp(t, UTC).date()"),
]  # fmt: skip
IDS = [f"{one.code}-{number}" for number, one in enumerate(ROWS)]

CLEAN = """
from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

KEEP = {"jpg", "png"}


def texts(folder: str, seed: int, limit: int | None = None):
    by_class = defaultdict(list)
    for root, _, names in os.walk(folder):
        for name in names:
            if name.rsplit(".", 1)[-1] in KEEP:
                by_class[os.path.basename(root)].append(name)
    labels = sorted(by_class)
    files = [(label, name) for label in labels for name in sorted(by_class[label])]
    counts = Counter(word for _, name in files for word in name.split("_"))
    words = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    vocabulary = {word: number for number, word in enumerate(words)}
    unknown = set(words) - vocabulary.keys()
    if unknown:
        raise ValueError(f"unknown words: {', '.join(unknown)}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(files))[:limit]
    held_out = set(order[: len(order) // 5].tolist())
    return [files[i] for i in order if i not in held_out], [files[i] for i in held_out]


def arrays(path: Path, seed: int):
    table = pd.read_csv(path).dropna()
    table = table.sample(frac=1, random_state=seed)
    missing = {"y"} - set(table.columns)
    if missing:
        raise ValueError(sorted(missing))
    columns = [name for name in table.columns if name not in {"y", "group"}]
    x, y = table[columns].to_numpy(), table["y"].to_numpy()
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=seed)
    model = make_pipeline(StandardScaler(), SVC())
    scores = cross_val_score(model, x_train, y_train, cv=StratifiedKFold(5))
    return Ridge().fit(x_train, y_train), scores, GroupKFold(3), len(set(y)), x_test, y_test


def pipeline(files: list[str], seed: int, training: bool = True):
    def load(file, key):
        image = tf.io.decode_png(tf.io.read_file(file))
        return tf.image.stateless_random_flip_left_right(image, key)

    keys = tf.random.experimental.stateless_split([seed, 0], len(files))
    data = tf.data.Dataset.from_tensor_slices((sorted(files), keys))
    if training:
        data = data.shuffle(len(files), seed=seed, reshuffle_each_iteration=True)
    return data.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(32).prefetch(tf.data.AUTOTUNE)


def network(width: int = 32, dropout: float = 0.1, seed: int | None = None):
    if seed is not None:
        keras.utils.set_random_seed(seed)
    inputs = keras.Input((width,))
    x = keras.layers.Dense(width, kernel_initializer=keras.initializers.GlorotUniform(seed=1))(inputs)
    x = keras.layers.Dropout(dropout, seed=2)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    frozen = {model.layers[1], model.layers[2]}
    for layer in frozen:
        layer.trainable = False
    return model


def tidy(folder: Path, keep: int = 3):
    files = sorted(folder.glob("*.keras"), key=lambda file: file.name)
    for file in files[:-keep]:
        file.unlink()
    for file in folder.glob("*.tmp"):
        file.unlink(missing_ok=True)
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    print(f"{len(sizes)} files", *folder.glob("*.keras"))
    if not any(folder.iterdir()):
        folder.rmdir()
    return sum(sizes.values()), "last.keras" in os.listdir(folder)


class Loader(keras.utils.PyDataset):
    def __init__(self, x, seed: int, **more):
        super().__init__(**more)
        self.x, self.seed, self.epoch = x, seed, 0
        self.seen = set()

    def __getitem__(self, index):
        self.seen.add(index)
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return self.x[index] + rng.normal(size=self.x[index].shape)

    def on_epoch_end(self):
        self.epoch += 1
        self.seen.clear()
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[audit.Finding]]:
    """The findings in every row's fault and mended code, looked for at once: by file name."""
    folder = tmp_path_factory.mktemp("rows")
    for number, one in enumerate(ROWS):
        (folder / f"fault_{number}.py").write_text(one.fault)
        (folder / f"mended_{number}.py").write_text(one.mended)
    (folder / "clean.py").write_text(CLEAN)
    said: list[str] = []
    by_name: dict[str, list[audit.Finding]] = {path.name: [] for path in folder.iterdir()}
    for one in audit.examine(audit.files([str(folder)]), said.append):
        by_name[Path(one.file).name].append(one)
    assert not said
    return by_name


@pytest.mark.parametrize("number", range(len(ROWS)), ids=IDS)
def test_a_fault_is_found_on_its_line_and_nothing_else(found: dict[str, list[audit.Finding]], number: int) -> None:
    lines = ROWS[number].fault.splitlines()
    wanted = {(ROWS[number].code, line) for line, text in enumerate(lines, 1) if text.rstrip().endswith("#!")}
    assert {(one.code, one.line) for one in found[f"fault_{number}.py"]} == wanted


@pytest.mark.parametrize("number", range(len(ROWS)), ids=IDS)
def test_mended_code_is_left_alone(found: dict[str, list[audit.Finding]], number: int) -> None:
    assert found[f"mended_{number}.py"] == []


def test_clean_code_is_left_alone(found: dict[str, list[audit.Finding]]) -> None:
    assert found["clean.py"] == []


def test_this_projects_own_code_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert proofs.audit([]) == 0
    assert re.match(r"no findings in \d+ files\.$", capsys.readouterr().out)
    looked_at = audit.files([])
    assert looked_at
    assert not [path for path in looked_at if project_root() / "src" / "seedbed" in path.parents]


def test_every_rule_has_a_reason_a_mend_and_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert proofs.audit(["--list"]) == 0
    shown = capsys.readouterr().out
    for code, rule in rules.RULES.items():
        assert re.search(rf"^{code} .+\n    why   .+\n    mend  .+$", shown, re.MULTILINE), code
        assert rule.code == code
        assert rule.why
        assert rule.mend
    assert {one.code for one in ROWS} == set(rules.RULES)
    assert proofs.audit(["--list", "--json"]) == 0
    assert {one["code"] for one in json.loads(capsys.readouterr().out)["rules"]} == set(rules.RULES)


def test_the_tables_know_all_of_scikit_learn_that_is_random() -> None:
    import inspect

    import sklearn.model_selection
    from sklearn import datasets, feature_selection, inspection, metrics
    from sklearn.utils import all_estimators

    splitters = {name: one for name, one in vars(sklearn.model_selection).items() if inspect.isclass(one)}
    functions = {name: one for module in (sklearn.model_selection, sklearn.utils, datasets, feature_selection, inspection, metrics)
                 for name, one in vars(module).items() if inspect.isfunction(one)}  # fmt: skip
    takes = {}
    for name, one in [*all_estimators(), *splitters.items(), *functions.items()]:
        if not name.startswith(("_", "Base")) and "random_state" in (parameters := inspect.signature(one).parameters):
            takes[name] = parameters["random_state"].default
    random = {name for name, default in takes.items() if default is None}
    known = {*estimators.ALWAYS, *estimators.SOMETIMES, *estimators.UNLESS}
    assert random - known - estimators.LEFT_ALONE - {"check_random_state"} == set()
    assert known & takes.keys() <= random


# --- suppression -----------------------------------------------------------------------------------------------------------

SUPPRESSED = [
    "import numpy as np\nrng = np.random.default_rng()  # seedbed: ignore[SB101] shown on purpose\n",
    "import os, random\nx = random.Random() if os.urandom(1) else random.random()  # seedbed: ignore[SB103, SB104, SB102] all meant\n",
    "import numpy as np\nrng = np.random.Generator(  # seedbed: ignore[SB101] first line\n    np.random.PCG64(\n    )\n)\n",
    "import numpy as np\nrng = np.random.Generator(\n    np.random.PCG64(\n    )\n)  # seedbed: ignore[SB101] last line\n",
    "def f(x):\n    for one in set(x):  # seedbed: ignore[SB201] order doesn't matter to print_all\n        print_all(one)\n",
    "import numpy as np\nx = np.random.rand()  # seedbed: ignore[NPY002]\n",
    "import numpy as np\nx = np.random.rand()  # noqa: NPY002\n",
]  # fmt: skip


@pytest.mark.parametrize("code", SUPPRESSED)
def test_a_comment_suppresses_what_it_names(tmp_path: Path, code: str) -> None:
    (tmp_path / "a.py").write_text(code)
    assert audit.examine([tmp_path / "a.py"], pytest.fail) == []


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("import numpy as np\nrng = np.random.default_rng()  # seedbed: ignore[SB102] another one\n", [("SB000", 2), ("SB101", 2)]),
        ("import numpy as np\nrng = np.random.default_rng()  # noqa\n", [("SB101", 2)]),
        (
            "import numpy as np\n# seedbed: ignore[SB101] the line before is none\nrng = np.random.default_rng()\n",
            [("SB000", 2), ("SB101", 3)],
        ),
        (
            "def f(x):\n    for one in set(x):\n        show(one)  # seedbed: ignore[SB201] not the loop's line\n",
            [("SB000", 3), ("SB201", 2)],
        ),
        ("import numpy as np\nx = np.random.rand()  # seedbed: ignore[NPY002, SB101]\n", [("SB000", 2)]),
    ],
)
def test_a_comment_suppresses_nothing_else(tmp_path: Path, code: str, wanted: list[tuple[str, int]]) -> None:
    (tmp_path / "a.py").write_text(code)
    assert sorted((one.code, one.line) for one in audit.examine([tmp_path / "a.py"], pytest.fail)) == wanted


def test_without_ruff_our_rules_are_asked_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("import random\nimport numpy as np\nnp.random.rand()  # seedbed: ignore[NPY002]\nrandom.random()\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said: list[str] = []
    assert [one.code for one in audit.examine([tmp_path / "a.py"], said.append)] == ["SB102"]
    assert len(said) == 1
    assert "ruff isn't installed" in said[0]


# --- files -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"x = 1\ny = = 2\n", 2), (b"x = '\xe9'\n", 1), (b"# coding: klingon\n", 1), (b"x = \x00\n", 1), (b"x = " + b"(" * 9999, 1),
     (b"x = " + b"-" * 9999 + b"1\n", 1), (b"def f():\n\tx\n        y\n", 3)],
)  # fmt: skip
def test_what_cant_be_read_is_a_finding(tmp_path: Path, content: bytes, line: int) -> None:
    (tmp_path / "bad.py").write_bytes(content)
    (tmp_path / "good.py").write_text("import random\nrandom.random()\n")
    first, second = audit.examine(audit.files([str(tmp_path)]), pytest.fail)
    assert (first.code, first.line, second.code) == ("SB001", line, "SB102")


def test_another_encoding_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes("# coding: latin-1\nimport random\nx = 'é', random.random()\n".encode("latin-1"))
    (one,) = audit.examine([tmp_path / "a.py"], pytest.fail)
    assert (one.code, one.line) == ("SB102", 3)


def test_folders_are_read_but_not_what_is_no_code_of_the_users(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", "b/.venv/d.py", ".hidden/e.py", "b/__pycache__/f.py", "g.txt", "x.egg-info/h.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert audit.files([str(tmp_path), str(tmp_path / "a.py")]) == [tmp_path / "a.py", tmp_path / "b" / "c.py"]
    with pytest.raises(Refused, match="there is no such file"):
        audit.files([str(tmp_path / "nothing")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="no Python file"):
        audit.files([str(tmp_path / "empty")])


def test_a_notebook_is_read_cell_by_cell(tmp_path: Path) -> None:
    def code(*lines: str) -> dict[str, Any]:
        return {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": [f"{line}\n" for line in lines]}

    text = {"cell_type": "markdown", "metadata": {}, "source": ["# title"]}
    cells = [
        text,
        code("%matplotlib inline", "import numpy as np"),
        code("%%bash", "ls"),
        text,
        code("x = 1", "np.random.default_rng()"),
        code("np.random.rand()"),
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (tmp_path / "b.ipynb").write_text("[]")
    listed = [(Path(one.file).name, one.cell, one.line, one.code) for one in audit.examine(audit.files([str(tmp_path)]), pytest.fail)]
    assert listed == [("a.ipynb", 5, 2, "SB101"), ("a.ipynb", 6, 1, "NPY002"), ("b.ipynb", None, 1, "SB001")]


# --- the command -----------------------------------------------------------------------------------------------------------


def test_findings_are_printed_for_people_and_for_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("import random\nx = [random.random()]\n")
    assert proofs.audit(["a.py"]) == 1
    place, why, mend, last = capsys.readouterr().out.splitlines()
    assert place == "a.py:2:6 SB102 `random.random` draws from Python's global generator"
    assert why.startswith("    why   whoever else draws from it")
    assert mend.startswith("    mend  make a generator")
    assert last == "1 finding in 1 file."
    assert proofs.audit(["a.py", "--json"]) == 1
    (one,) = json.loads(capsys.readouterr().out)["findings"]
    assert {name: one[name] for name in ("code", "file", "line", "column")} == {"code": "SB102", "file": "a.py", "line": 2, "column": 6}
    assert set(one) == {"code", "file", "line", "column", "what", "why", "mend"}


def test_the_command_from_end_to_end(tmp_path: Path, seedbed: Callable[..., Any]) -> None:
    (tmp_path / "a.py").write_text("import random\nrandom.random()\n")
    missing = seedbed("audit", "missing.py", "--json")
    assert missing.status == 2
    assert missing.err.startswith("seedbed audit: missing.py: there is no such file")
    listed = seedbed("audit", "a.py", "--json")
    assert (listed.status, [one["code"] for one in listed.json["findings"]]) == (1, ["SB102"])


def test_code_is_read_and_not_imported(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("raise SystemExit\n")
    code = "import sys; from pathlib import Path; from seedbed.proof import audit; audit.examine([Path(sys.argv[1])], print); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.py")], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "sklearn", "numpy"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("os.path.getmtime", True), ("lambda p: os.path.getctime(p)", True), ("lambda p: p.stat().st_mtime", True),
        ("lambda p: (p.stat().st_mtime_ns, p.name)", True), ("lambda p: p.stat().st_size", False), ("lambda p: p.name", False),
    ],
)  # fmt: skip
def test_an_order_by_a_files_times(key: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(f"import os\n\n\ndef data(paths):\n    return sorted(paths, key={key})\n")
    assert ("SB202" in {one.code for one in audit.examine([tmp_path / "code.py"], print)}) is found
