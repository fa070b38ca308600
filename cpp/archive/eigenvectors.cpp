#include "eigenvectors.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace deltastore {

namespace {

constexpr int kMostSteps = 60;  // for a value; two or three are usual

// Reflections that make a matrix tridiagonal, and their product.
struct Tridiagonal {
    Tridiagonal(std::vector<double>& a, int n) : diagonal(n), beside(n), product(size_t(n) * n) {
        std::vector<std::vector<double>> reflections;
        for (int k = 0; k + 2 < n; k++) reflections.push_back(reflect(a, n, k));
        for (int i = 0; i < n; i++) diagonal[i] = a[size_t(i) * n + i];
        for (int i = 0; i + 1 < n; i++) beside[i] = a[size_t(i) * n + i + 1];
        for (int i = 0; i < n; i++) product[size_t(i) * n + i] = 1;
        // From the last one on: rows before it are still those of the identity.
        for (int k = int(reflections.size()) - 1; k >= 0; k--) apply(reflections[k], n, k + 1);
    }

    // Makes column k zero below the element under the diagonal. The reflection's vector, of length sqrt(2), from element k + 1 on.
    std::vector<double> reflect(std::vector<double>& a, int n, int k) {
        const int m = n - k - 1;
        std::vector<double> v(m), p(m);
        double norm = 0;
        for (int i = 0; i < m; i++) norm += (v[i] = a[size_t(k + 1 + i) * n + k]) * v[i];
        norm = std::sqrt(norm);
        if (norm == 0) return {};
        const double first = v[0] > 0 ? -norm : norm;
        v[0] -= first;
        const double length = std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0) / 2);
        for (double& x : v) x /= length;
        for (int i = 0; i < m; i++) p[i] = std::inner_product(v.begin(), v.end(), &a[size_t(k + 1 + i) * n + k + 1], 0.0);
        const double half = std::inner_product(v.begin(), v.end(), p.begin(), 0.0) / 2;
        for (int i = 0; i < m; i++) p[i] -= half * v[i];
        for (int i = 0; i < m; i++) {
            double* row = &a[size_t(k + 1 + i) * n + k + 1];
            for (int j = 0; j < m; j++) row[j] -= v[i] * p[j] + p[i] * v[j];
        }
        a[size_t(k) * n + k + 1] = a[size_t(k + 1) * n + k] = first;
        return v;
    }

    // product: [axis][element], so that QL steps turn whole rows.
    void apply(const std::vector<double>& v, int n, int begin) {
        if (v.empty()) return;
        for (int row = begin; row < n; row++) {
            double* at = &product[size_t(row) * n + begin];
            const double dot = std::inner_product(v.begin(), v.end(), at, 0.0);
            for (size_t i = 0; i < v.size(); i++) at[i] -= dot * v[i];
        }
    }

    std::vector<double> diagonal, beside, product;
};

void turn(double* a, double* b, int n, double c, double s) {
    for (int i = 0; i < n; i++) {
        const double x = a[i], y = b[i];
        a[i] = c * x - s * y;
        b[i] = s * x + c * y;
    }
}

// Makes the diagonal the values, and the product's rows the vectors.
void solve(Tridiagonal& t, int n) {
    std::vector<double>&d = t.diagonal, &e = t.beside;
    for (int l = 0; l < n; l++)
        for (int step = 0; step < kMostSteps; step++) {
            int m = l;
            while (m + 1 < n && std::abs(e[m]) > 1e-14 * (std::abs(d[m]) + std::abs(d[m + 1]))) m++;
            if (m == l) break;
            const double half = (d[l + 1] - d[l]) / (2 * e[l]);
            double g = d[m] - d[l] + e[l] / (half + std::copysign(std::hypot(half, 1.0), half)), s = 1, c = 1, moved = 0;
            int i = m - 1;
            for (; i >= l; i--) {
                const double f = s * e[i], b = c * e[i], r = std::hypot(f, g);
                e[i + 1] = r;
                if (r == 0) {
                    d[i + 1] -= moved;
                    e[m] = 0;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - moved;
                const double w = (d[i] - g) * s + 2 * c * b;
                moved = s * w;
                d[i + 1] = g + moved;
                g = c * w - b;
                turn(&t.product[size_t(i) * n], &t.product[size_t(i + 1) * n], n, c, s);
            }
            if (i >= l) continue;
            d[l] -= moved;
            e[l] = g;
            e[m] = 0;
        }
}

}  // namespace

Eigenvectors eigenvectors(std::vector<double> matrix, int size) {
    Tridiagonal t(matrix, size);
    solve(t, size);
    std::vector<int> order(size);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) { return t.diagonal[a] > t.diagonal[b]; });
    Eigenvectors result;
    for (int axis : order) {
        result.values.push_back(t.diagonal[axis]);
        const double* row = &t.product[size_t(axis) * size];
        result.vectors.insert(result.vectors.end(), row, row + size);
    }
    return result;
}

}  // namespace deltastore
